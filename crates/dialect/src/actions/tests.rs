//! Expressions and their values, as GitHub's documentation states them.

use serde_json::{Value, json};

use super::{Environment, condition, evaluate, interpolate};

struct Run {
    failed: bool,
}

impl Environment for Run {
    fn context(&self, name: &str) -> Option<Value> {
        Some(match name {
            "github" => json!({ "ref": "refs/heads/main", "event": { "commits": [
                { "id": "a", "author": { "name": "Sasha" } }, { "id": "b" } ] } }),
            "env" => json!({ "Name": "x", "EMPTY": "", "count": 3 }),
            "steps" => json!({ "sha": { "outputs": { "short": "abc1234" } } }),
            "needs" => json!({ "a": { "result": "success" }, "b": { "result": "failure" } }),
            "matrix" => json!({ "node": 20, "os": ["linux", "mac"] }),
            _ => return None,
        })
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, String>> {
        Some(match name {
            "success" => Ok(json!(!self.failed)),
            "failure" => Ok(json!(self.failed)),
            "always" => Ok(json!(true)),
            "hashfiles" => Ok(json!(format!("hash of {arguments:?}").len())),
            _ => return None,
        })
    }
}

#[test]
fn expressions_have_values() {
    let check = |expression: &str, expected: Value| {
        assert_eq!(evaluate(expression, &Run { failed: false }), Ok(expected), "{expression}");
    };
    check("null", json!(null));
    check("711", json!(711));
    check("-9.2", json!(-9.2));
    check("0xff", json!(255));
    check("0o17", json!(15));
    check("-2.99e-2", json!(-0.0299));
    check("1e3", json!(1000));
    check("'it''s'", json!("it's"));
    check("github.ref", json!("refs/heads/main"));
    check("GitHub['REF']", json!("refs/heads/main"));
    check("github.nothing.below", json!(null));
    check("steps.sha.outputs.short", json!("abc1234"));
    check("matrix.os[1]", json!("mac"));
    check("matrix.os[7]", json!(null));
    check("github.event.commits.*.id", json!(["a", "b"]));
    check("github.event.commits.*.author.name", json!(["Sasha"]));
    check("needs.*.result", json!(["success", "failure"]));
    check("contains(needs.*.result, 'failure')", json!(true));
    check("'ABC' == 'abc'", json!(true));
    check("1 == '1'", json!(true));
    check("null == 0", json!(true));
    check("null == ''", json!(true));
    check("true == '1'", json!(true));
    check("'x' == 0", json!(false));
    check("'x' < 1", json!(false));
    check("'a' < 'B'", json!(true));
    check("2 >= 2 && 3 > 2 && !(1 != 1)", json!(true));
    check("env.EMPTY || 'default'", json!("default"));
    check("env.name && 'set'", json!("set"));
    check("1 == 2 || 3 == 3 && 'yes'", json!("yes"));
    check("true && false || 'c'", json!("c"));
    check("!env.EMPTY", json!(true));
    check("contains('Hello', 'LL')", json!(true));
    check("contains(fromJSON('[1,2]'), '2')", json!(true));
    check("startsWith(github.ref, 'refs/heads/')", json!(true));
    check("endsWith(github.ref, '/MAIN')", json!(true));
    check("format('{0} {{x}} {1}', 'a', matrix.node)", json!("a {x} 20"));
    check("join(matrix.os, ' and ')", json!("linux and mac"));
    check("case(false, 'a', matrix.node == 20, 'b', 'c')", json!("b"));
    check("case(false, 'a', 'c')", json!("c"));
    check("format('{0} {1} {2}', 1.0, 1.1, 1234567890.0)", json!("1 1.1 1234567890"));
    check("format('{0} {1}', 12345678901234567890, 0.000000123)", json!("1.23456789012346E+19 1.23E-07"));
    check("format('{0} {1}', 0.1, 1e300)", json!("0.1 1E+300"));
    check("join(fromJSON('[\"a\", null, 1.5]'), 1)", json!("a111.5"));
    check("contains(fromJSON('[true]'), 'true')", json!(false));
    check("contains(true, 'u')", json!(true));
    check("join(matrix.os)", json!("linux,mac"));
    check("toJSON(matrix.os)", json!("[\n  \"linux\",\n  \"mac\"\n]"));
    check("fromJSON('{\"a\": 1}').a", json!(1));
    check("fromJSON(toJSON(matrix))['node'] == 20", json!(true));
    check("github.event.commits[0].author.name == 'sasha'", json!(true));
}

#[test]
fn texts_are_filled_in() {
    let check = |text: &str, expected: Value| {
        assert_eq!(interpolate(text, &Run { failed: false }), Ok(expected), "{text}");
    };
    check("plain", json!("plain"));
    check("${{ matrix.node }}", json!(20));
    check("v${{ matrix.node }}", json!("v20"));
    check("${{ matrix }}!", json!("Object!"));
    check("sha-${{ steps.sha.outputs.short }},${{ env.Name }}", json!("sha-abc1234,x"));
    check("${{ 'a }} b' }}", json!("a }} b"));
    check("${{ null }}.", json!("."));
    check("cost: $5 {{ x }}", json!("cost: $5 {{ x }}"));
}

#[test]
fn conditions_imply_success() {
    let check = |text: &str, failed: bool, expected: bool| {
        assert_eq!(condition(text, &Run { failed }), Ok(expected), "{text} failed={failed}");
    };
    check("", false, true);
    check("", true, false);
    check("github.ref == 'refs/heads/main'", false, true);
    check("github.ref == 'refs/heads/main'", true, false);
    check("${{ github.ref == 'refs/heads/other' }}", false, false);
    check("always()", true, true);
    check("${{ failure() && matrix.node == 20 }}", true, true);
    check("failure()", false, false);
    check("!startsWith(github.ref, 'refs/tags/')", false, true);
    check("success() || failure()", true, true);
}

#[test]
fn wrong_expressions_say_what_is_wrong() {
    let check = |expression: &str, expected: &str| {
        let error = evaluate(expression, &Run { failed: false }).unwrap_err().to_string();
        assert!(error.contains(expected), "{expression}: {error}");
    };
    check("", "unexpected end");
    check("github.", "unexpected end");
    check("a b", "unexpected `b`");
    check("\"double\"", "unexpected `\"double\"`");
    check("'open", "unexpected `'open`");
    check("nothing.here", "unrecognized named-value: `nothing`");
    check("nothing()", "unrecognized function: `nothing`");
    check("case(true, 1)", "needs pairs");
    check("contains('a')", "called with 1 arguments");
    check("format('{1}', 'a')", "asks for value 1");
    check("fromJSON('{')", "not JSON");
    check(&"(".repeat(100), "nesting");
    check(&format!("github{}", ".a".repeat(100)), "nesting");
    check(&"1 &&".repeat(1000), "nesting");
    assert!(interpolate("${{ open", &Run { failed: false }).is_err());
}
