//! Which pod addresses are taken.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use super::BRIDGE;

/// First and last address that pods get: the network and broadcast addresses and the bridge are left out.
const FIRST: u32 = u32::from_be_bytes([10, 244, 0, 2]);
const LAST: u32 = u32::from_be_bytes([10, 244, 255, 254]);

/// Addresses are given round robin, so that one which was just released is not met again soon.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    taken: HashSet<Ipv4Addr>,
    /// Known to belong to a pod that has not asked for it yet.
    reserved: HashSet<Ipv4Addr>,
    last: Option<u32>,
}

impl Addresses {
    /// The wanted address if it is free, else the next free one.
    pub(crate) fn take(&mut self, wanted: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let in_range = |ip: &Ipv4Addr| (FIRST..=LAST).contains(&u32::from(*ip)) && *ip != BRIDGE;
        if let Some(ip) = wanted.filter(in_range)
            && self.taken.insert(ip)
        {
            self.reserved.remove(&ip);
            return Some(ip);
        }
        let start = self.last.map_or(FIRST, |last| if last == LAST { FIRST } else { last + 1 });
        let free = |number: &u32| {
            let ip = Ipv4Addr::from(*number);
            !self.taken.contains(&ip) && !self.reserved.contains(&ip)
        };
        let number = (start..=LAST).chain(FIRST..start).find(free)?;
        self.last = Some(number);
        self.taken.insert(number.into());
        Some(number.into())
    }

    pub(crate) fn reserve(&mut self, ip: Ipv4Addr) {
        self.reserved.insert(ip);
    }

    pub(crate) fn release(&mut self, ip: Ipv4Addr) {
        self.taken.remove(&ip);
        self.reserved.remove(&ip);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_unique_and_come_back_to_who_had_them() {
        let ip = |last: u8| Ipv4Addr::new(10, 244, 0, last);
        let mut addresses = Addresses::default();
        addresses.reserve(ip(3));
        assert_eq!(addresses.take(None), Some(ip(2)));
        assert_eq!(addresses.take(None), Some(ip(4)), "a reserved address is not given away");
        assert_eq!(addresses.take(Some(ip(3))), Some(ip(3)));
        assert_eq!(addresses.take(Some(ip(3))), Some(ip(5)), "a taken address is not given twice");
        addresses.release(ip(4));
        assert_eq!(addresses.take(None), Some(ip(6)), "a released address rests");
        assert_eq!(addresses.take(Some(Ipv4Addr::new(192, 168, 0, 1))), Some(ip(7)));
        assert_eq!(addresses.take(Some(BRIDGE)), Some(ip(8)));
    }
}
