//! Choices that a seed determines, and the texts to choose from: names that meet, and scalars that YAML reads in ways
//! people do not expect.

/// Deterministic choices (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is at least one.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    /// True once in `of` times.
    pub(crate) fn once_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    pub(crate) fn item<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() { None } else { from.get(self.below(from.len())) }
    }
}

pub(crate) const NAMES: &[&str] = &["app", "web", "db", "cache", "my-config", "creds"];
pub(crate) const NAMESPACES: &[&str] = &["default", "prod", "team-a"];
pub(crate) const LABELS: &[&str] = &["app", "web", "db", "v1.0", "\"1\"", "front-end"];
pub(crate) const LABEL_KEYS: &[&str] =
    &["tier", "env", "app.kubernetes.io/name", "example.com/part", "owner", "a"];
pub(crate) const DATA_KEYS: &[&str] = &["LEVEL", "app.properties", "key", "MODE", "file.txt", "a-b"];
pub(crate) const ENV_NAMES: &[&str] = &["LEVEL", "HOST", "PORT", "MODE"];
pub(crate) const IMAGES: &[&str] = &[
    "nginx",
    "nginx:1.25",
    "nginx:latest",
    "app",
    "app:v1",
    "localhost:5000/team/app:v1",
    "localhost:5000/team/app",
    "gcr.io/x/y@sha256:24a0c4b4a4c0eb97a1aabb8e29f18e917d05abfe1b7a7c07857230879ce7d3d3",
    "nginx:1.25@sha256:24a0c4b4a4c0eb97a1aabb8e29f18e917d05abfe1b7a7c07857230879ce7d3d3",
    "\"app:1.0\"",
];
pub(crate) const IMAGE_NAMES: &[&str] =
    &["nginx", "app", "localhost:5000/team/app", "gcr.io/x/y", "team/app", "'gcr.io/.*'"];

/// Scalars as they stand in a file; every one may stand in a flow collection, too.
pub(crate) const SCALARS: &[&str] = &[
    "plain",
    "two words",
    "yes",
    "No",
    "on",
    "off",
    "y",
    "true",
    "\"true\"",
    "False",
    "0644",
    "0o14",
    "0x1F",
    "0b11",
    "007",
    "08",
    "1.0",
    "1.50",
    "-0.0",
    "1e3",
    "1E+2",
    "1e400",
    "6.02e23",
    "123456789012345678",
    "12345678901234567890",
    "123456789012345678901",
    "1_000",
    "+12",
    "-7",
    "0",
    "-0",
    "\"8080\"",
    "8080",
    "null",
    "~",
    "Null",
    "\"null\"",
    "''",
    "\"\"",
    "\"a\\nb\\n\"",
    "\"line\\n  indented\\n\\nmore\"",
    "\"tab\\there\"",
    "\"trailing \"",
    "\" leading\"",
    "'it''s'",
    "\"quote \\\" and \\\\ back\"",
    "é ü 漢字 😀",
    "\"\\u00e9\\u2028\\u0085\\uFEFF\"",
    "\"\\0\\x07\\e\"",
    "\"#hash\"",
    "\"a #b\"",
    "\"a: b\"",
    "\"- x\"",
    "\"? x\"",
    "\"@at\"",
    "\"`tick`\"",
    "\"{a}\"",
    "\"[a]\"",
    "\"*star\"",
    "\"&and\"",
    "\"!bang\"",
    "\"%percent\"",
    "\"|\"",
    "\">\"",
    "\"-\"",
    "\"---\"",
    "\"...\"",
    "\"=\"",
    "=",
    "\"<<\"",
    "1:30",
    "190:20:30",
    "2021-01-01",
    "2021-01-01T00:00:00Z",
    "\"2021-01-01\"",
    "!!str 5",
    "!!str yes",
    "!!int \"5\"",
    "!!float 1",
    "!!bool \"true\"",
    "!!binary aGVsbG8=",
    "!!null ''",
    ".5",
    "5.",
    ".inf",
    "-.Inf",
    ".nan",
    "1.2.3",
    "1,000",
    "a very long line that goes on and on until it is far wider than the eighty columns at which many writers of YAML fold their scalars",
    "\"a very long line with a: colon and # hash that goes on and on until it is far wider than the eighty columns of a fold\"",
    "$(HOST)",
    "$(HOST)-$(PORT)-$$(MODE)",
    "\"${HOST}\"",
];

/// Scalars that are strings to every reader.
pub(crate) const STRINGS: &[&str] = &[
    "plain",
    "two words",
    "\"true\"",
    "\"yes\"",
    "\"0644\"",
    "\"8080\"",
    "\"null\"",
    "''",
    "\"1.0\"",
    "\"1e3\"",
    "\"a\\nb\\n\"",
    "\"a\\nb\"",
    "\"trailing \"",
    "é ü 漢字",
    "\"a: b\"",
    "\"#x\"",
    "$(HOST)",
    "http://$(HOST):$(PORT)/",
    "\"2021-01-01\"",
    "a-b-c",
    "one.two.three",
    "x=y",
    "a very long line that goes on and on until it is far wider than the eighty columns at which many writers of YAML fold their scalars",
];

/// The lines of a text of several lines.
pub(crate) const BLOCKS: &[&str] = &[
    "one\ntwo",
    "one\n  two\nthree",
    "key: value\n# not a comment\nlist:\n- 1",
    "tab\there\n\nafter a blank line",
    "trailing \nspaces  ",
    "ünïcode 漢字\nzwei",
    "#!/bin/sh\nset -e\nexec \"$@\"",
    "a very long line that goes on and on until it is far wider than the eighty columns at which many writers of YAML fold\nshort",
];
