//! One scalar changes, the rest of the file stays.

use yaml::splice::{SpliceError, set_scalar};

#[track_caller]
fn check(text: &str, path: &[&str], new: &str, expected: &str) {
    assert_eq!(set_scalar(text, path, new).as_deref(), Ok(expected));
}

#[test]
fn an_image_tag_is_replaced_and_comments_stay() {
    let text = "images: # ours\n- name: a\n  newTag: \"1.0\" # é keep\n- {name: b, newTag: v1}\n";
    check(
        text,
        &["images", "0", "newTag"],
        "1.1",
        "images: # ours\n- name: a\n  newTag: \"1.1\" # é keep\n- {name: b, newTag: v1}\n",
    );
    check(
        text,
        &["images", "1", "newTag"],
        "v2",
        "images: # ours\n- name: a\n  newTag: \"1.0\" # é keep\n- {name: b, newTag: v2}\n",
    );
    check(
        text,
        &["images", "1", "newTag"],
        "2.0",
        "images: # ours\n- name: a\n  newTag: \"1.0\" # é keep\n- {name: b, newTag: \"2.0\"}\n",
    );
}

#[test]
fn styles_and_empty_values() {
    check("a: 'x'\r\nb: 1\r\n", &["a"], "it's", "a: 'it''s'\r\nb: 1\r\n");
    check("a:\nb: 1\n", &["a"], "x", "a: x\nb: 1\n");
    check("a: |\n  x\n  y\nb: 1\n", &["a"], "z", "a: \"z\"\nb: 1\n");
    check("x: 1\n---\na: b\n", &["a"], "c", "x: 1\n---\na: c\n");
    check("\u{feff}a: b\n", &["a"], "c", "\u{feff}a: c\n");
}

#[test]
fn errors_name_the_path() {
    assert_eq!(set_scalar("a: {b: 1}", &["a", "c"], "x"), Err(SpliceError::Missing("a.c".into())));
    assert_eq!(set_scalar("a: {b: 1}", &["a"], "x"), Err(SpliceError::NotScalar("a".into())));
}
