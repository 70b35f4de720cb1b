//! Reading workflow files.

use serde_json::json;

use super::{Access, Action, Event, Workflow, combinations};

const CI: &str = "
name: CI
on:
  push:
    branches: [main, 'release/**', '!release/old']
    paths-ignore: ['docs/**', '*.md']
  pull_request:
  workflow_dispatch:
    inputs:
      level: { default: low, type: choice }
env: { A: 1 }
permissions: { contents: read, packages: write }
jobs:
  test:
    runs-on: ubuntu-latest
    strategy: { matrix: { node: [18, 20] } }
    steps:
      - uses: actions/checkout@v4
        with: { fetch-depth: 0 }
      - run: npm test
        working-directory: app
  build:
    needs: test
    if: github.ref == 'refs/heads/main'
    runs-on: ubuntu-latest
    steps: [{ id: sha, run: 'echo hi' }]
";

#[test]
fn a_workflow_is_read_as_written() {
    let workflow = Workflow::parse(".github/workflows/ci.yaml", CI).unwrap();
    assert_eq!(workflow.name, "CI");
    assert_eq!(workflow.env["A"], "1");
    let permissions = workflow.permissions.unwrap();
    assert_eq!((permissions.contents, permissions.statuses), (Access::Read, Access::None));
    assert_eq!(
        permissions.scopes("platform/app"),
        ["registry:*:pull", "repo:platform/app:read", "registry:platform/*:push"]
    );
    assert_eq!(workflow.jobs.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["test", "build"]);
    let Action::Uses { action, with } = &workflow.jobs[0].steps[0].action else { panic!() };
    assert_eq!((action.as_str(), &with["fetch-depth"]), ("actions/checkout@v4", &json!("0")));
    assert_eq!(workflow.jobs[1].needs, ["test"]);
    assert_eq!(workflow.triggers.workflow_dispatch, Some(vec![("level".into(), json!("low"))]));
}

#[test]
fn pushes_match_by_branch_tag_and_path() {
    let check = |on: &str, reference: &str, paths: &[&str], expected: bool| {
        let text = format!("on: {on}\njobs: {{ a: {{ runs-on: x, steps: [{{ run: x }}] }} }}");
        let workflow = Workflow::parse("x.yaml", &text).unwrap();
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let matches = workflow.triggers.matches(Event::Push { reference, paths: &paths });
        assert_eq!(matches, expected, "{on} {reference} {paths:?}");
    };
    check("push", "refs/heads/any", &[], true);
    check("[push, pull_request]", "refs/tags/v1", &[], true);
    check("pull_request", "refs/heads/any", &[], false);
    check("{ push: { branches: [main] } }", "refs/heads/main", &[], true);
    check("{ push: { branches: [main] } }", "refs/heads/mainly", &[], false);
    check("{ push: { branches: [main] } }", "refs/tags/main", &[], false);
    check("{ push: { tags: ['v*'] } }", "refs/tags/v1.0", &[], true);
    check("{ push: { tags: ['v*'] } }", "refs/heads/v1.0", &[], false);
    check("{ push: { tags: ['v[12].[0-9]+.[0-9]+'] } }", "refs/tags/v2.10.0", &[], true);
    check("{ push: { tags: ['v[12].[0-9]+.[0-9]+'] } }", "refs/tags/v3.1.0", &[], false);
    check("{ push: { branches: ['*'] } }", "refs/heads/a/b", &[], false);
    check("{ push: { branches: ['**'] } }", "refs/heads/a/b", &[], true);
    check("{ push: { branches: ['a/**', '!a/c'] } }", "refs/heads/a/c", &[], false);
    check("{ push: { branches-ignore: ['a/**'] } }", "refs/heads/b", &[], true);
    check("{ push: { branches-ignore: ['a/**'] } }", "refs/heads/a/b", &[], false);
    check("{ push: { paths: ['src/**'] } }", "refs/heads/main", &["docs/a.md", "src/a/b.js"], true);
    check("{ push: { paths: ['src/**'] } }", "refs/heads/main", &["docs/a.md"], false);
    check("{ push: { paths: ['**/*.js'] } }", "refs/heads/main", &["a.js"], true);
    check("{ push: { paths-ignore: ['docs/**'] } }", "refs/heads/main", &["docs/a", "docs/b"], false);
    check("{ push: { paths-ignore: ['docs/**'] } }", "refs/heads/main", &["docs/a", "src/b"], true);
    check("{ push: { paths: ['src/**'] } }", "refs/tags/v1", &[], true);
}

#[test]
fn matrices_combine_as_github_does() {
    let check = |matrix: serde_json::Value, expected: serde_json::Value| {
        let made: serde_json::Value =
            combinations(Some(&matrix)).unwrap().into_iter().map(serde_json::Value::Object).collect();
        assert_eq!(made, expected, "{matrix}");
    };
    check(json!({ "a": [1, 2], "b": ["x"] }), json!([{ "a": 1, "b": "x" }, { "a": 2, "b": "x" }]));
    check(json!({ "a": [1, 2], "exclude": [{ "a": 1 }] }), json!([{ "a": 2 }]));
    check(json!({ "include": [{ "a": 1 }, { "b": 2 }] }), json!([{ "a": 1 }, { "b": 2 }]));
    // The example of GitHub's documentation.
    let fruit = json!({ "fruit": ["apple", "pear"], "animal": ["cat", "dog"], "include": [
        { "color": "green" }, { "color": "pink", "animal": "cat" }, { "fruit": "apple", "shape": "circle" },
        { "fruit": "banana" }, { "fruit": "banana", "animal": "cat" } ] });
    check(
        fruit,
        json!([
            { "fruit": "apple", "animal": "cat", "color": "pink", "shape": "circle" },
            { "fruit": "apple", "animal": "dog", "color": "green", "shape": "circle" },
            { "fruit": "pear", "animal": "cat", "color": "pink" },
            { "fruit": "pear", "animal": "dog", "color": "green" },
            { "fruit": "banana" },
            { "fruit": "banana", "animal": "cat" },
        ]),
    );
    let many: Vec<u32> = (0..300).collect();
    assert!(combinations(Some(&json!({ "a": many }))).is_err());
}

#[test]
fn mistakes_are_named_with_their_place() {
    let check = |text: &str, expected: &str| {
        let error = Workflow::parse("x.yaml", text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    };
    check("jobs: {}", "`on` is missing");
    check("on: push", "`jobs` is missing");
    check("on: pussh\njobs: {}", "unknown event `pussh`");
    check("on: push\njobs: { a: { steps: [{ run: x }] } }", "jobs.a: `runs-on` is missing");
    check(
        "on: push\njobs: { a: { runs-on: x, steps: [{ name: x }] } }",
        "jobs.a.steps[0]: a step has either",
    );
    check("on: push\njobs: { a: { runs-on: x, stepz: [] } }", "jobs.a: unknown field `stepz`");
    check("on: push\njobs: { a: { runs-on: x, needs: b, steps: [{ run: x }] } }", "there is no job `b`");
    check("on: push\njobs: { a: { runs-on: x, needs: a, steps: [{ run: x }] } }", "wait for each other");
    check(
        "on: push\njobs: { a: { runs-on: x, services: { db: {} }, steps: [{ run: x }] } }",
        "`services` is not supported",
    );
    check("on: push\njobs:\n\t- x", "line 3");
}
