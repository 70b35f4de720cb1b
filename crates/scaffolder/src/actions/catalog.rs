//! Actions on the catalog: `catalog:register`, `catalog:write`, `catalog:fetch`.

use serde_json::{Value, json};

use super::{Action, ActionContext, ActionError, text, texts};
use crate::workspace::{self, Content};

pub(super) const REGISTER: Action = Action {
    id: "catalog:register",
    description: "Brings the entities of a repository into the catalog at once.",
    input: || {
        json!({"type": "object", "properties": {
            "catalogInfoUrl": {"type": "string"}, "repoContentsUrl": {"type": "string"},
            "catalogInfoPath": {"type": "string"}, "optional": {"type": "boolean"},
        }, "anyOf": [{"required": ["catalogInfoUrl"]}, {"required": ["repoContentsUrl"]}]})
    },
    output: || {
        json!({"type": "object", "required": ["catalogInfoUrl"], "properties": {
            "entityRef": {"type": "string"}, "catalogInfoUrl": {"type": "string"}}})
    },
    call: |context, input| Box::pin(register(context, input)),
    works_on_files: false,
};

async fn register(context: ActionContext, input: Value) -> Result<Value, ActionError> {
    let target = match input["catalogInfoUrl"].as_str() {
        Some(url) => url.to_owned(),
        None => {
            let path = text(&input, "catalogInfoPath", "/catalog-info.yaml").trim_start_matches('/');
            format!("{}/{path}", text(&input, "repoContentsUrl", "").trim_end_matches('/'))
        }
    };
    context.log(&format!("Registering {target} in the catalog"));
    let user = context.task.with(|record| record.spec.user.clone());
    let entities = match context.services.catalog.register(&user, &target).await {
        Ok(entities) => entities,
        Err(error) if input["optional"] == true => {
            context.log(&format!("Not registered: {error}"));
            return Ok(json!({ "catalogInfoUrl": target }));
        }
        Err(error) => return Err(error.into()),
    };
    // As in Backstage: the first that is no location, else the first component, else whatever is there.
    let kind = |entity: &&Value| entity["kind"].as_str().unwrap_or_default().to_lowercase();
    let entity = entities
        .iter()
        .find(|entity| kind(entity) == "component")
        .or_else(|| entities.iter().find(|entity| kind(entity) != "location"))
        .or(entities.first());
    let mut output = json!({ "catalogInfoUrl": target });
    if let Some(entity) = entity {
        let namespace = entity["metadata"]["namespace"].as_str().unwrap_or("default");
        let name = entity["metadata"]["name"].as_str().unwrap_or_default();
        output["entityRef"] = Value::from(format!("{}:{namespace}/{name}", kind(&entity)));
    }
    Ok(output)
}

pub(super) const WRITE: Action = Action {
    id: "catalog:write",
    description: "Writes an entity as catalog-info.yaml into the workspace.",
    input: || {
        json!({"type": "object", "required": ["entity"], "properties": {
            "entity": {"type": "object"}, "filePath": {"type": "string"}}})
    },
    output: || json!({}),
    call: |context, input| {
        Box::pin(async move {
            let path = text(&input, "filePath", "catalog-info.yaml").to_owned();
            let written = yaml::emit(&input["entity"]);
            context.log(&format!("Writing {path}"));
            let content = Content::File { bytes: written.into_bytes(), executable: false };
            context.blocking(move |root| Ok(workspace::write(&root, &path, &content, true)?)).await?;
            Ok(json!({}))
        })
    },
    works_on_files: true,
};

pub(super) const FETCH: Action = Action {
    id: "catalog:fetch",
    description: "Reads one entity or several from the catalog.",
    input: || {
        json!({"type": "object", "properties": {
            "entityRef": {"type": "string"}, "entityRefs": {"type": "array", "items": {"type": "string"}},
            "optional": {"type": "boolean"}, "defaultKind": {"type": "string"}, "defaultNamespace": {"type": "string"},
        }, "anyOf": [{"required": ["entityRef"]}, {"required": ["entityRefs"]}]})
    },
    output: || json!({"type": "object", "properties": {"entity": {"type": "object"}, "entities": {"type": "array"}}}),
    call: |context, input| Box::pin(fetch(context, input)),
    works_on_files: false,
};

async fn fetch(context: ActionContext, input: Value) -> Result<Value, ActionError> {
    let single = input["entityRef"].is_string();
    let named = texts(&input, if single { "entityRef" } else { "entityRefs" });
    let namespace = text(&input, "defaultNamespace", "default");
    let mut references = Vec::new();
    for reference in &named {
        let parts = dialect::nunjucks::parse_entity_ref(reference, input["defaultKind"].as_str(), namespace)
            .ok_or_else(|| ActionError::Input(format!("\"{reference}\" is not an entity reference")))?;
        let part = |key: &str| parts[key].as_str().unwrap_or_default();
        references.push(format!("{}:{}/{}", part("kind"), part("namespace"), part("name")));
    }
    let user = context.task.with(|record| record.spec.user.clone());
    let found = context.services.catalog.by_refs(&user, &references, &[]).await?;
    let optional = input["optional"] == true;
    if let Some(at) = found.iter().position(Option::is_none).filter(|_| !optional) {
        return Err(ActionError::Input(format!("Entity {} not found", references[at])));
    }
    let mut items: Vec<Value> = found.into_iter().map(|entity| entity.unwrap_or(Value::Null)).collect();
    Ok(if single { json!({"entity": items.pop()}) } else { json!({ "entities": items }) })
}
