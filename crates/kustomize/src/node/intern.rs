//! Texts that occur again and again are kept once: names of fields, kinds, words such as `true` and `http`.

use std::cell::RefCell;

use super::Text;

/// How many texts of a sort a thread remembers; another one in the same place takes the place.
const PLACES: usize = 512;
/// Longer texts hardly ever come again.
const LENGTH_LIMIT: usize = 32;

struct Table {
    places: Vec<Option<Text>>,
}

thread_local! {
    static NAMES: RefCell<Table> = const { RefCell::new(Table { places: vec![] }) };
    static VALUES: RefCell<Table> = const { RefCell::new(Table { places: vec![] }) };
}

/// The name of a field.
pub(super) fn name(text: &str) -> Text {
    NAMES.with_borrow_mut(|table| table.get(text))
}

/// The text of a scalar.
pub(super) fn value(text: &str) -> Text {
    VALUES.with_borrow_mut(|table| table.get(text))
}

impl Table {
    fn get(&mut self, text: &str) -> Text {
        if text.len() > LENGTH_LIMIT {
            return text.into();
        }
        if self.places.is_empty() {
            self.places.resize(PLACES, None);
        }
        let Some(place) = self.places.get_mut(place_of(text)) else { return text.into() };
        match place {
            Some(known) if **known == *text => known.clone(),
            _ => place.insert(text.into()).clone(),
        }
    }
}

fn place_of(text: &str) -> usize {
    let mut hash = text.len();
    for byte in text.bytes() {
        hash = (hash ^ usize::from(byte)).wrapping_mul(0x0100_0193);
    }
    (hash ^ (hash >> 15)) % PLACES
}
