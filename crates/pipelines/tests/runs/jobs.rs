//! What jobs and steps do.

use crate::fixture::{conclusions, map, started};

const CI: &str = ".github/workflows/ci.yaml";

#[tokio::test]
async fn a_push_runs_its_jobs_and_reports_on_the_commit() {
    let world = started().await;
    let workflow = "
name: CI
on: push
env: { GREETING: hello, OVER: workflow }
jobs:
  build:
    runs-on: ubuntu-latest
    env: { OVER: job }
    outputs: { short: '${{ steps.sha.outputs.short }}' }
    steps:
      - uses: actions/checkout@v4
      - id: sha
        run: echo \"short=$(git rev-parse --short HEAD)\" >> \"$GITHUB_OUTPUT\"
      - run: |
          echo \"$GREETING from $GITHUB_REPOSITORY on $GITHUB_REF_NAME by $GITHUB_ACTOR in ${{ vars.REGION }}\"
          echo \"LATER=value\" >> $GITHUB_ENV
          mkdir -p bin && printf '#!/bin/sh\\necho tool ran' > bin/tool && chmod +x bin/tool
          echo \"$PWD/bin\" >> $GITHUB_PATH
          echo '## Summary' >> $GITHUB_STEP_SUMMARY
      - env: { OVER: step }
        run: tool && echo \"$LATER $OVER ${{ env.OVER }}\" && cat file.txt
      - run: echo 'the password is ${{ secrets.PASSWORD }}' && printf %s '${{ secrets.PASSWORD }}' | base64
  test:
    needs: build
    runs-on: ubuntu-latest
    strategy: { matrix: { node: [18, 20] } }
    steps:
      - name: Version ${{ matrix.node }}
        shell: sh
        working-directory: /
        run: echo \"${{ needs.build.outputs.short }} on ${{ matrix.node }} in $PWD\"
  skipped:
    needs: test
    if: github.ref == 'refs/heads/other'
    runs-on: ubuntu-latest
    steps: [{ run: exit 1 }]
";
    let sha = world.push("app", "first", &[(CI, workflow), ("file.txt", "content of the file\n")]).await;
    let run = world.completed(&sha).await;
    assert_eq!(run["status"]["conclusion"], "success", "{run:#}");
    let expected =
        [("build", "success"), ("test (18)", "success"), ("test (20)", "success"), ("skipped", "skipped")];
    assert_eq!(conclusions(&run), map(&expected));
    let log = world.log(&run, "build").await;
    for line in [
        "hello from platform/app on main by sasha in north",
        "tool ran",
        "value step step",
        "content of the file",
    ] {
        assert!(log.contains(line), "{line} is not in\n{log}");
    }
    assert!(log.contains("the password is ***") && !log.contains("horse"), "{log}");
    let log = world.log(&run, "test-1").await;
    assert!(log.contains(&format!("{} on 20 in /", &sha[..7])), "{log}");
    assert_eq!(run["status"]["jobs"][2]["steps"][0]["name"], "Version 20");
    let (state, contexts) = world.statuses("app", &sha).await;
    assert_eq!(state, "success");
    let expected = [
        ("CI / build", "success"),
        ("CI / test (18)", "success"),
        ("CI / test (20)", "success"),
        ("CI / skipped", "success"),
    ];
    assert_eq!(contexts, map(&expected));
    let name = run["metadata"]["name"].as_str().unwrap();
    assert_eq!(world.call("GET", &format!("/runs/{name}/jobs/build/summary")).await.1, "## Summary\n\n");
    assert!(
        std::fs::read_dir(world.data().join("work").join(name)).unwrap().next().is_none(),
        "nothing is left"
    );
}

#[tokio::test]
async fn failures_stop_what_depends_on_success() {
    let world = started().await;
    let workflow = "
name: CI
on: push
jobs:
  broken:
    runs-on: ubuntu-latest
    steps:
      - id: tolerated
        continue-on-error: true
        run: exit 7
      - run: test '${{ steps.tolerated.outcome }}-${{ steps.tolerated.conclusion }}' = failure-success
      - run: |
          echo '::error file=a.js,line=3::It is broken'
          false | true
          exit 3
      - run: echo never
      - if: failure()
        run: echo cleaning up
      - if: ${{ always() && job.status == 'failure' }}
        run: echo always
  after: { needs: broken, runs-on: x, steps: [{ run: exit 0 }] }
  anyway: { needs: broken, if: always(), runs-on: x, steps: [{ run: 'echo ${{ needs.broken.result }}' }] }
  pipe: { runs-on: x, steps: [{ shell: bash, run: false | true }] }
  slow: { runs-on: x, steps: [{ timeout-minutes: 0.005, run: sleep 100 }] }
  unknown: { runs-on: x, steps: [{ uses: someone/action@v1 }] }
";
    let sha = world.push("app", "first", &[(CI, workflow)]).await;
    let run = world.completed(&sha).await;
    assert_eq!(run["status"]["conclusion"], "failure");
    let expected = [
        ("broken", "failure"),
        ("after", "skipped"),
        ("anyway", "success"),
        ("pipe", "failure"),
        ("slow", "failure"),
        ("unknown", "failure"),
    ];
    assert_eq!(conclusions(&run), map(&expected));
    let steps = run["status"]["jobs"][0]["steps"].as_array().unwrap();
    let shown: Vec<&str> = steps.iter().map(|step| step["conclusion"].as_str().unwrap()).collect();
    assert_eq!(shown, ["success", "success", "failure", "skipped", "success", "success"]);
    let annotations = &run["status"]["jobs"][0]["annotations"];
    assert!(annotations.to_string().contains("a.js:3: It is broken"), "{annotations}");
    assert!(world.log(&run, "anyway").await.contains("failure"));
    assert!(world.log(&run, "unknown").await.contains("`someone/action@v1` is not available here"));
    assert_eq!(world.statuses("app", &sha).await.0, "failure");
}

#[tokio::test]
async fn caches_and_artifacts_carry_files() {
    let world = started().await;
    let workflow = "
name: CI
on: push
jobs:
  make:
    runs-on: x
    steps:
      - uses: actions/checkout@v4
      - id: cache
        uses: actions/cache@v4
        with: { path: deps, key: \"deps-${{ hashFiles('lock') }}\", restore-keys: deps- }
      - run: 'echo \"hit=${{ steps.cache.outputs.cache-hit }} $(cat deps/file 2>/dev/null || true)\"'
      - run: mkdir -p deps dist/sub && echo cached-$GITHUB_RUN_NUMBER > deps/file && echo built > dist/sub/app.js
      - uses: actions/upload-artifact@v4
        with: { name: app, path: dist }
  use:
    needs: make
    runs-on: x
    steps:
      - uses: actions/download-artifact@v4
        with: { name: app, path: in }
      - run: cat in/sub/app.js
";
    let check = async |message: &str, lock: &str, expected: &str| {
        let sha = world.push("app", message, &[(CI, workflow), ("lock", lock)]).await;
        let run = world.completed(&sha).await;
        assert_eq!(run["status"]["conclusion"], "success", "{run:#}");
        assert!(
            world.log(&run, "make").await.contains(&format!("\n{expected}\n")),
            "{}",
            world.log(&run, "make").await
        );
        assert!(world.log(&run, "use").await.contains("\nbuilt\n"));
    };
    check("first", "1", "hit= ").await;
    check("changed", "2", "hit=false cached-1").await;
    check("back", "1", "hit=true cached-1").await;
}
