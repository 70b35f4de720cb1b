//! `strategy:`: one job becomes several.

use serde_json::{Map, Value, json};

use super::{At, Error};

/// Jobs that one matrix may make; GitHub's own limit.
const COMBINATION_LIMIT: usize = 256;

/// The strategy of a job; the matrix may still hold expressions.
#[derive(Clone, Debug)]
pub struct Strategy {
    pub matrix: Option<Value>,
    /// One failed job cancels the others of its matrix.
    pub fail_fast: bool,
    /// Jobs of this matrix at once.
    pub max_parallel: Option<usize>,
}

pub(super) fn parse(job: &At<'_>) -> Result<Strategy, Error> {
    let Some(at) = job.get("strategy") else {
        return Ok(Strategy { matrix: None, fail_fast: true, max_parallel: None });
    };
    at.only(&["matrix", "fail-fast", "max-parallel"])?;
    let max_parallel = match at.text("max-parallel")? {
        None => None,
        Some(text) => match text.parse::<usize>() {
            Ok(number) if number > 0 => Some(number),
            _ => return at.error("`max-parallel` must be a positive number"),
        },
    };
    Ok(Strategy {
        matrix: at.get("matrix").map(|matrix| matrix.value.clone()),
        fail_fast: at.text("fail-fast")?.as_deref() != Some("false"),
        max_parallel,
    })
}

/// The combinations of an evaluated matrix, in GitHub's order. No matrix is one combination without values.
pub fn combinations(matrix: Option<&Value>) -> Result<Vec<Map<String, Value>>, String> {
    let Some(matrix) = matrix else { return Ok(vec![Map::new()]) };
    let Value::Object(matrix) = matrix else { return Err("`matrix` must be a mapping".to_owned()) };
    let axes: Vec<(&String, &Value)> =
        matrix.iter().filter(|(key, _)| !matches!(key.as_str(), "include" | "exclude")).collect();
    let mut combinations: Vec<Map<String, Value>> =
        if axes.is_empty() { Vec::new() } else { vec![Map::new()] };
    for (key, values) in &axes {
        let Value::Array(values) = values else { return Err(format!("`matrix.{key}` must be a list")) };
        let mut next = Vec::new();
        for combination in &combinations {
            for value in values {
                let mut extended = combination.clone();
                extended.insert((*key).clone(), value.clone());
                next.push(extended);
            }
        }
        combinations = next;
        if combinations.len() > COMBINATION_LIMIT {
            return Err(format!("the matrix has more than {COMBINATION_LIMIT} combinations"));
        }
    }
    for excluded in objects(matrix, "exclude")? {
        combinations
            .retain(|combination| !excluded.iter().all(|(key, value)| combination.get(key) == Some(value)));
    }
    include(&mut combinations, &axes, objects(matrix, "include")?);
    if combinations.is_empty() || combinations.len() > COMBINATION_LIMIT {
        return Err(format!("the matrix must have 1 to {COMBINATION_LIMIT} combinations"));
    }
    Ok(combinations)
}

/// An included object extends every original combination whose values it would not change; one that fits nowhere is a
/// combination of its own.
fn include(
    combinations: &mut Vec<Map<String, Value>>,
    axes: &[(&String, &Value)],
    included: Vec<&Map<String, Value>>,
) {
    let originals = combinations.len();
    for object in included {
        let mut used = false;
        for combination in &mut combinations[..originals] {
            let fits = axes.iter().all(|(key, _)| match object.get(key.as_str()) {
                None => true,
                Some(value) => combination.get(key.as_str()) == Some(value),
            });
            if fits {
                combination.extend(object.iter().map(|(key, value)| (key.clone(), value.clone())));
                used = true;
            }
        }
        if !used {
            combinations.push(object.clone());
        }
    }
}

fn objects<'a>(matrix: &'a Map<String, Value>, name: &str) -> Result<Vec<&'a Map<String, Value>>, String> {
    let Some(list) = matrix.get(name).filter(|list| **list != json!("") && !list.is_null()) else {
        return Ok(Vec::new());
    };
    let wrong = || format!("`matrix.{name}` must be a list of mappings");
    list.as_array().ok_or_else(wrong)?.iter().map(|item| item.as_object().ok_or_else(wrong)).collect()
}
