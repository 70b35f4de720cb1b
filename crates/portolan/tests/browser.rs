//! Sasha's part, by clicking: signs in, finds the template, fills the form wrong and then right, watches the task finish
//! without reloading, and sees the environments fill.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod platform;
mod webdriver;

use std::time::Duration;

use platform::{Platform, SOON, eventually, text};
use serde_json::json;
use webdriver::Browser;

/// Images are built, pulled and started in a debug build.
const STACK: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sasha_makes_a_stack_by_clicking() {
    let platform = Platform::start().await;
    let Some(browser) = Browser::start().await else { return };
    platform.ready().await;
    signs_in(&browser, &platform).await;
    finds_the_template(&browser).await;
    is_told_what_is_wrong(&browser, &platform).await;
    watches_the_task(&browser).await;
    sees_the_environments(&browser).await;
}

async fn signs_in(browser: &Browser, platform: &Platform) {
    browser.open(&platform.url("/create")).await;
    assert!(browser.url().await.contains("/sign-in"), "a stranger sees {}", browser.url().await);
    browser.click("button[name=person][value=sasha]").await;
    browser.wait_for(SOON, &["Create", "Sasha"]).await;
    assert!(
        browser.url().await.ends_with("/create"),
        "sign-in leads where she wanted to go: {}",
        browser.url().await
    );
}

async fn finds_the_template(browser: &Browser) {
    browser.wait_for(SOON, &["Node Development", "Tiny App"]).await;
    browser.click("a.button[href='/create/default/tiny-app']").await;
    browser.wait_for(SOON, &["Project name", "Team", "Database name", "API port"]).await;
}

/// What the browser itself says is wrong with a field; empty when nothing is.
async fn complaint(browser: &Browser, field: &str) -> String {
    text(&browser.script(&format!("return document.getElementById('{field}').validationMessage")).await)
}

async fn is_told_what_is_wrong(browser: &Browser, platform: &Platform) {
    browser.fill("#name", "Dash Board!").await;
    browser.click("#owner option[value='group:default/platform-team']").await;
    assert_eq!(
        browser.script("return document.getElementById('owner').value").await,
        json!("group:default/platform-team"),
        "the list offers the team"
    );
    browser.fill("#database", "metrics").await;
    browser.fill("#apiPort", "70000").await;
    browser.click("main form button.primary").await;
    // The page's own check: nothing was sent, and both fields say what they want.
    assert!(browser.url().await.ends_with("/create/default/tiny-app"));
    for field in ["name", "apiPort"] {
        assert_ne!(complaint(browser, field).await, "", "the browser accepts {field}");
    }
    assert_eq!(complaint(browser, "database").await, "");

    // The server's check, with the page's turned off: the same fields are refused, and what was typed is still there.
    browser.script("document.querySelector('main form').noValidate = true").await;
    browser.click("main form button.primary").await;
    browser.wait_for(SOON, &["Nothing was created"]).await;
    for (field, told) in [
        ("name", "must start with a lower-case letter"),
        ("apiPort", "must be a port number from 1024 to 65535"),
    ] {
        let script = format!(
            "return document.getElementById('{field}').closest('.field.invalid')?.querySelector('.error')?.innerText ?? ''"
        );
        let error = text(&browser.script(&script).await);
        assert!(error.contains(told), "{field} says {error:?}");
    }
    assert_eq!(browser.script("return document.getElementById('name').value").await, json!("Dash Board!"));
    assert_eq!(browser.script("return document.querySelectorAll('.field.invalid').length").await, json!(2));
    let token = platform.token("sasha");
    let (_, repositories) =
        platform.ask(&token, reqwest::Method::GET, "/api/v3/orgs/platform/repos", None).await;
    assert!(!repositories.to_string().to_lowercase().contains("dash"), "refused input created something");

    browser.fill("#name", "clicked").await;
    browser.fill("#apiPort", "3001").await;
    browser.click("main form button.primary").await;
}

async fn watches_the_task(browser: &Browser) {
    let on_task = async || browser.url().await.contains("/tasks/").then_some(());
    eventually("the task's page", SOON, on_task).await;
    // A reload would lose this mark.
    browser.script("window.sameDocument = true").await;
    let shown = browser.wait_for(STACK, &["Finished", "Open the application in the catalog"]).await;
    assert_eq!(
        browser.script("return window.sameDocument === true").await,
        json!(true),
        "the page was loaded again"
    );
    assert!(shown.contains("Create the frontend repository"), "the steps are listed: {shown}");
    assert!(!shown.contains("Failed"), "{shown}");
    let log = text(&browser.script("return document.querySelector('.log').innerText").await);
    assert!(log.lines().count() > 5, "the log is there: {log}");
}

async fn sees_the_environments(browser: &Browser) {
    browser.click("nav[aria-label=Main] a[href='/environments']").await;
    browser.wait_for(SOON, &["Environments"]).await;
    browser.script("window.sameDocument = true").await;
    let cells = "return [...document.querySelectorAll('table.board tbody tr')] \
                 .filter(row => /^clicked-(frontend|backend|database)/.test(row.children[0].innerText.trim())) \
                 .flatMap(row => [...row.children].slice(1).map(cell => cell.innerText))";
    let full = async || {
        let cells = browser.script(cells).await;
        let cells: Vec<String> = cells.as_array()?.iter().map(text).collect();
        // A database says it in words of its own: "Cluster in healthy state".
        (cells.len() == 9 && cells.iter().all(|cell| cell.to_lowercase().contains("healthy"))).then_some(())
    };
    eventually("both parts and the database are healthy in all three environments", STACK, full).await;
    assert_eq!(
        browser.script("return window.sameDocument === true").await,
        json!(true),
        "the board was loaded again"
    );
}
