//! Create and update: the one way by which objects get into the store. Order and rules after apiserver's `registry/rest` and
//! `registry/generic/registry/store.go`.

use http::StatusCode;
use object::managed::{self, Scope};
use object::{Cause, meta, validate};
use serde_json::{Value, json};

use super::Context;
use super::body::Decoded;
use crate::admission::{self, Operation};
use crate::catalog::{Kind, fact};
use crate::convert;
use crate::error::ApiError;
use crate::schema::fields;
use crate::store::{Expect, Write, WriteError};
use crate::{custom, uid};

/// How often a write without a precondition is tried again when others write the same object.
const CONFLICT_ATTEMPTS: usize = 64;
/// How many names are tried for `generateName`.
const NAME_ATTEMPTS: usize = 8;
/// The longest base of a generated name: with the suffix it stays within a DNS label.
const GENERATED_BASE_LIMIT: usize = 58;
/// Largest stored object, as etcd's limit.
const OBJECT_LIMIT: usize = 1024 * 1536;

/// The endpoint through which an object is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Main,
    Status,
    /// Any other subresource: the caller has already put the allowed change into the stored object.
    Through(&'static str),
}

impl Part {
    pub(crate) fn subresource(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::Status => "status",
            Self::Through(name) => name,
        }
    }

    /// What a writer can own through this endpoint.
    pub(crate) fn scope(self, kind: &Kind) -> Scope {
        match self {
            Self::Status => Scope::StatusOnly,
            _ if kind.has(fact::STATUS) => Scope::NotStatus,
            _ => Scope::Whole,
        }
    }
}

/// The query parameters of a write.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) dry_run: bool,
    pub(crate) manager: String,
    pub(crate) validation: Validation,
    pub(crate) force: bool,
}

/// `fieldValidation`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validation {
    Ignore,
    Warn,
    Strict,
}

impl Options {
    pub(crate) fn parse(cx: &Context) -> Result<Self, ApiError> {
        let invalid = |field: &str, value: &str, supported: &[&str]| {
            let supported: Vec<String> = supported.iter().map(|s| (*s).to_owned()).collect();
            let cause = Cause::not_supported(field, &value.into(), &supported);
            ApiError::invalid_kind("meta.k8s.io", "WriteOptions", "", &[cause])
        };
        let dry_run = match cx.query.get("dryRun") {
            None => false,
            Some("All") => true,
            Some(other) => return Err(invalid("dryRun", other, &["All"])),
        };
        let validation = match cx.query.get("fieldValidation") {
            None | Some("Warn") => Validation::Warn,
            Some("Ignore") => Validation::Ignore,
            Some("Strict") => Validation::Strict,
            Some(other) => return Err(invalid("fieldValidation", other, &["", "Ignore", "Strict", "Warn"])),
        };
        let manager = cx.query.get("fieldManager").unwrap_or_else(|| cx.agent());
        if manager.len() > 128 {
            let cause = Cause::too_long("fieldManager", 128);
            return Err(ApiError::invalid_kind("meta.k8s.io", "WriteOptions", "", &[cause]));
        }
        Ok(Self { dry_run, manager: manager.to_owned(), validation, force: cx.query.boolean("force")? })
    }
}

/// POST.
pub(crate) async fn create(cx: &Context, kind: &Kind, decoded: Decoded) -> Result<Value, ApiError> {
    let options = Options::parse(cx)?;
    let Decoded { mut value, duplicates } = decoded;
    check_type(kind, &mut value)?;
    let problems = decode(kind, &mut value, duplicates);
    report(cx, options.validation, &problems, |problems| undecodable(kind, &problems))?;
    create_object(cx, kind, value, &options, false).await
}

/// Creates an object that is decoded already. `applied` says that its managed fields are computed already.
pub(crate) async fn create_object(
    cx: &Context,
    kind: &Kind,
    object: Value,
    options: &Options,
    applied: bool,
) -> Result<Value, ApiError> {
    let generates = meta::name(&object).is_empty();
    let mut attempt = 0;
    loop {
        attempt += 1;
        match create_once(cx, kind, object.clone(), options, applied).await {
            Err(error) if error.reason == "AlreadyExists" && generates => {
                if attempt == NAME_ATTEMPTS {
                    let mut error = error.retry_after(1);
                    error
                        .message
                        .push_str(", the server was not able to generate a unique name for the object");
                    return Err(error);
                }
            }
            outcome => return outcome,
        }
    }
}

async fn create_once(
    cx: &Context,
    kind: &Kind,
    mut object: Value,
    options: &Options,
    applied: bool,
) -> Result<Value, ApiError> {
    begin(cx, kind, &mut object)?;
    if kind.has(fact::STATUS) && !kind.has(fact::STATUS_ON_CREATE) {
        remove(&mut object, "status");
    }
    object::defaults::apply_defaults(&kind.resource, &mut object);
    if !applied {
        object = managed_update(kind, None, object, options, Part::Main);
    }
    let _held = cx.api.serialised(kind).await;
    admission::mutate(cx, kind, Operation::Create, &mut object, None).await?;
    if kind.has(fact::GENERATION) || kind.custom.is_some() {
        object["metadata"]["generation"] = 1.into();
    } else {
        remove(&mut object["metadata"], "generation");
    }
    let name = meta::name(&object).to_owned();
    check_valid(kind, &object, None)?;
    if let Some(existing) = cx.api.store.get(&kind.collection, &kind.key(meta::namespace(&object), &name)) {
        return Err(exists(kind, &name, &convert::parse(&existing.value)));
    }
    if options.dry_run {
        remove(&mut object["metadata"], "resourceVersion");
        return Ok(object);
    }
    match store(cx, kind, object, Expect::Absent, false).await {
        Err(Stored::Conflict) => Err(ApiError::already_exists(&kind.resource, &name)),
        Err(Stored::Failed(error)) => Err(error),
        Ok(stored) => Ok(stored),
    }
}

fn exists(kind: &Kind, name: &str, existing: &Value) -> ApiError {
    let mut error = ApiError::already_exists(&kind.resource, name);
    if meta::is_being_deleted(existing) {
        error.message = format!("object is being deleted: {}", error.message);
    }
    error
}

/// Name, namespace and the metadata that a new object gets.
fn begin(cx: &Context, kind: &Kind, object: &mut Value) -> Result<(), ApiError> {
    check_namespace(cx, kind, object)?;
    let metadata = &mut object["metadata"];
    for field in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        remove(metadata, field);
    }
    if metadata["resourceVersion"].as_str().is_some_and(|v| !v.is_empty()) {
        return Err(ApiError::plain("resourceVersion should not be set on objects to be created"));
    }
    remove(metadata, "resourceVersion");
    let base = metadata["generateName"].as_str().unwrap_or_default();
    if metadata["name"].as_str().unwrap_or_default().is_empty() {
        if base.is_empty() {
            let cause = Cause::required("metadata.name", "name or generateName is required");
            return Err(ApiError::invalid(&kind.resource, "", &[cause]));
        }
        let cut = base.char_indices().nth(GENERATED_BASE_LIMIT).map_or(base.len(), |(at, _)| at);
        let name = format!("{}{}", &base[..cut], uid::suffix());
        metadata["name"] = name.into();
    }
    metadata["uid"] = uid::new().into();
    metadata["creationTimestamp"] = now().into();
    Ok(())
}

/// PUT.
pub(crate) async fn put(
    cx: &Context,
    kind: &Kind,
    decoded: Decoded,
    part: Part,
) -> Result<(StatusCode, Value), ApiError> {
    let options = Options::parse(cx)?;
    let Decoded { mut value, duplicates } = decoded;
    check_type(kind, &mut value)?;
    let problems = decode(kind, &mut value, duplicates);
    report(cx, options.validation, &problems, |problems| undecodable(kind, &problems))?;
    check_name(cx, kind, &mut value)?;
    if part == Part::Main && kind.has(fact::UPSERT) && cx.stored(kind).is_err() {
        remove(&mut value["metadata"], "resourceVersion");
        return create_object(cx, kind, value, &options, false).await.map(|o| (StatusCode::CREATED, o));
    }
    let conditional = kind.has(fact::CONDITIONAL) || kind.custom.is_some();
    if conditional && meta::resource_version(&value).is_empty() && cx.stored(kind).is_ok() {
        let cause = Cause::invalid("metadata.resourceVersion", &0.into(), "must be specified for an update");
        return Err(ApiError::invalid(&kind.resource, &cx.info.name, &[cause]));
    }
    let updated = modify(cx, kind, &cx.info.name, part, &options, false, |_| Ok(value.clone())).await?;
    Ok((StatusCode::OK, updated))
}

/// Changes a stored object: computes the new one from the old one, and again if another writer was faster.
pub(crate) async fn modify(
    cx: &Context,
    kind: &Kind,
    name: &str,
    part: Part,
    options: &Options,
    applied: bool,
    make: impl Fn(&Value) -> Result<Value, ApiError>,
) -> Result<Value, ApiError> {
    for _ in 0..CONFLICT_ATTEMPTS {
        let entry = cx.stored_named(kind, name)?;
        let old = convert::parse_outgoing(kind, &entry.value);
        let new = make(&old)?;
        match update_once(cx, kind, &old, entry.revision, new, part, options, applied).await {
            Err(Stored::Conflict) => {}
            Err(Stored::Failed(error)) => return Err(error),
            Ok(updated) => return Ok(updated),
        }
    }
    Err(ApiError::modified(&kind.resource, name))
}

#[expect(clippy::too_many_arguments, reason = "the one call is just above")]
async fn update_once(
    cx: &Context,
    kind: &Kind,
    old: &Value,
    revision: u64,
    mut new: Value,
    part: Part,
    options: &Options,
    applied: bool,
) -> Result<Value, Stored> {
    check_precondition(kind, old, &new)?;
    keep(kind, old, &mut new, part);
    object::defaults::apply_defaults(&kind.resource, &mut new);
    if !applied {
        new = managed_update(kind, Some(old), new, options, part);
    }
    let _held = cx.api.serialised(kind).await;
    if part == Part::Main {
        admission::mutate(cx, kind, Operation::Update, &mut new, Some(old)).await?;
    }
    check_finalizers(kind, old, &new)?;
    number_generation(kind, old, &mut new, part);
    new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
    if new == *old {
        return Ok(new);
    }
    check_valid(kind, &new, Some(old))?;
    if options.dry_run {
        return Ok(new);
    }
    if deletable(&new) {
        return finish_deletion(cx, kind, new, revision).await;
    }
    store(cx, kind, new, Expect::Revision(revision), false).await
}

/// Whether an object whose deletion was asked for may go now.
pub(crate) fn deletable(object: &Value) -> bool {
    let namespace_content = object["kind"] == "Namespace"
        && object["spec"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty());
    meta::is_being_deleted(object)
        && meta::finalizers(object).next().is_none()
        && !namespace_content
        && object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
}

/// Removes the object whose last finalizer has just gone; the answer is its last state.
pub(crate) async fn finish_deletion(
    cx: &Context,
    kind: &Kind,
    object: Value,
    revision: u64,
) -> Result<Value, Stored> {
    store(cx, kind, object, Expect::Revision(revision), true).await
}

/// Why a change did not get into the store.
pub(crate) enum Stored {
    /// Another writer was faster.
    Conflict,
    Failed(ApiError),
}

impl From<ApiError> for Stored {
    fn from(error: ApiError) -> Self {
        Self::Failed(error)
    }
}

/// Writes an object (of the served version) and gives it its new resource version.
pub(crate) async fn store(
    cx: &Context,
    kind: &Kind,
    mut object: Value,
    expect: Expect,
    delete: bool,
) -> Result<Value, Stored> {
    let key = kind.key(meta::namespace(&object), meta::name(&object));
    let value = {
        let mut stored = object.clone();
        convert::to_stored(kind, &mut stored);
        convert::cut(&stored)
    };
    if value.before.len() + value.after.len() > OBJECT_LIMIT {
        return Err(ApiError::plain("etcdserver: request is too large").into());
    }
    let written =
        cx.api.store.write(Write { collection: kind.collection.clone(), key, expect, delete, value }).await;
    match written {
        Ok(entry) => {
            object["metadata"]["resourceVersion"] = entry.revision.to_string().into();
            Ok(object)
        }
        Err(WriteError::Conflict) => Err(Stored::Conflict),
        Err(WriteError::Storage(error)) => Err(ApiError::storage(&error).into()),
        Err(WriteError::Closed) => Err(ApiError::unavailable("the server is shutting down").into()),
    }
}

/// Puts back what the endpoint does not let a client change.
fn keep(kind: &Kind, old: &Value, new: &mut Value, part: Part) {
    let object_changes = |new: &mut Value, fields: &[&str]| {
        for field in fields {
            copy(&old["metadata"], &mut new["metadata"], field);
        }
    };
    match part {
        Part::Status => {
            let mut kept = old.clone();
            copy(new, &mut kept, "status");
            copy(&new["metadata"], &mut kept["metadata"], "managedFields");
            let open = matches!(&*kind.resource.plural, "pods" | "nodes") && kind.resource.group.is_empty();
            if open {
                for field in ["labels", "annotations", "finalizers"] {
                    copy(&new["metadata"], &mut kept["metadata"], field);
                }
            }
            *new = kept;
        }
        Part::Main if kind.has(fact::STATUS) => copy(old, new, "status"),
        _ => {}
    }
    object_changes(
        new,
        &[
            "name",
            "namespace",
            "uid",
            "creationTimestamp",
            "generation",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ],
    );
    remove(&mut new["metadata"], "selfLink");
    if kind.collection == "/namespaces" && part == Part::Main {
        copy(&old["spec"], &mut new["spec"], "finalizers");
    }
}

fn check_precondition(kind: &Kind, old: &Value, new: &Value) -> Result<(), ApiError> {
    let (given, stored) = (meta::uid(new), meta::uid(old));
    if !given.is_empty() && given != stored {
        let key = kind.key(meta::namespace(old), meta::name(old));
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{}/{key}, ResourceVersion: 0, AdditionalErrorMsg: \
             Precondition failed: UID in precondition: {given}, UID in object meta: {stored}",
            kind.resource.plural
        );
        return Err(ApiError::conflict(&kind.resource, meta::name(old), why));
    }
    let given = meta::resource_version(new);
    if !matches!(given, "" | "0") && given != meta::resource_version(old) {
        return Err(ApiError::modified(&kind.resource, meta::name(old)));
    }
    Ok(())
}

fn check_finalizers(kind: &Kind, old: &Value, new: &Value) -> Result<(), ApiError> {
    if !meta::is_being_deleted(old) {
        return Ok(());
    }
    let added: Vec<&str> = meta::finalizers(new).filter(|f| !meta::has_finalizer(old, f)).collect();
    if added.is_empty() {
        return Ok(());
    }
    let detail = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
    );
    Err(ApiError::invalid(
        &kind.resource,
        meta::name(new),
        &[Cause::forbidden("metadata.finalizers", detail)],
    ))
}

fn number_generation(kind: &Kind, old: &Value, new: &mut Value, part: Part) {
    if !(kind.has(fact::GENERATION) || kind.custom.is_some()) {
        return;
    }
    let counts = |field: &str| match field {
        "metadata" | "apiVersion" | "kind" => false,
        "status" => kind.custom.is_some() && !kind.has(fact::STATUS),
        _ => true,
    };
    let differs = |a: &Value, b: &Value| {
        let fields = a.as_object().into_iter().flatten();
        fields.filter(|(f, _)| counts(f)).any(|(f, v)| b.get(f) != Some(v))
    };
    let annotations = kind.resource.kind == "Deployment"
        && old["metadata"]["annotations"] != new["metadata"]["annotations"];
    if part != Part::Status && (differs(old, new) || differs(new, old) || annotations) {
        new["metadata"]["generation"] = (meta::generation(old) + 1).into();
    }
}

fn check_valid(kind: &Kind, object: &Value, old: Option<&Value>) -> Result<(), ApiError> {
    let mut causes = match old {
        None => validate::create(&kind.resource, object),
        Some(old) => validate::update(&kind.resource, old, object),
    };
    if let Some(custom) = &kind.custom {
        causes.extend(custom.validate(object, old));
    } else if kind.is(&object::kinds::CUSTOM_RESOURCE_DEFINITION) {
        causes.extend(custom::definition_causes(object, old));
    }
    if causes.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid(&kind.resource, meta::name(object), &causes))
    }
}

/// Brings a decoded object into the shape of its kind: unknown fields go (and are named), custom defaults come.
pub(crate) fn decode(kind: &Kind, object: &mut Value, mut problems: Vec<String>) -> Vec<String> {
    let unknown = match &kind.custom {
        Some(custom) => custom.decode(object),
        None => fields::prune(&kind.resource, object),
    };
    let mut named: Vec<String> =
        unknown.into_iter().map(|path| format!("unknown field \"{path}\"")).collect();
    named.append(&mut problems);
    named
}

/// Says what strict decoding found, as `fieldValidation` wants it; `refuse` words the error of each verb.
pub(super) fn report(
    cx: &Context,
    validation: Validation,
    problems: &[String],
    refuse: impl FnOnce(String) -> ApiError,
) -> Result<(), ApiError> {
    match validation {
        _ if problems.is_empty() => Ok(()),
        Validation::Ignore => Ok(()),
        Validation::Warn => {
            problems.iter().for_each(|p| cx.warn(p.as_str()));
            Ok(())
        }
        Validation::Strict => Err(refuse(problems.join(", "))),
    }
}

/// The error of a create or update.
fn undecodable(kind: &Kind, problems: &str) -> ApiError {
    let (kind, version) = (&kind.resource.kind, &kind.resource.version);
    ApiError::bad_request(format!(
        "{kind} in version \"{version}\" cannot be handled as a {kind}: strict decoding error: {problems}"
    ))
}

pub(crate) fn managed_update(
    kind: &Kind,
    old: Option<&Value>,
    new: Value,
    options: &Options,
    part: Part,
) -> Value {
    let update = managed::Update {
        manager: &options.manager,
        now: &now(),
        subresource: part.subresource(),
        scope: part.scope(kind),
        facts: kind.merge_facts(),
    };
    managed::update(old, new, &update)
}

/// `apiVersion` and `kind`, which may be left out, have to be those of the path.
fn check_type(kind: &Kind, object: &mut Value) -> Result<(), ApiError> {
    if !object.is_object() {
        return Err(ApiError::bad_request("the object provided is unrecognized (must be a JSON object)"));
    }
    let expected = kind.resource.api_version();
    let given = meta::api_version(object);
    if !given.is_empty() && given != expected {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({given}) does not match the expected API version ({expected})"
        )));
    }
    let given = meta::kind(object);
    if !given.is_empty() && given != kind.resource.kind {
        return Err(ApiError::bad_request(format!(
            "{given} in version \"{0}\" cannot be handled as a {1}: no kind \"{given}\" is registered for this path",
            kind.resource.version, kind.resource.kind
        )));
    }
    object["apiVersion"] = expected.into();
    object["kind"] = kind.resource.kind.as_ref().into();
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    Ok(())
}

fn check_namespace(cx: &Context, kind: &Kind, object: &mut Value) -> Result<(), ApiError> {
    let metadata = &mut object["metadata"];
    let given = metadata["namespace"].as_str().unwrap_or_default();
    if !kind.resource.namespaced {
        if !given.is_empty() {
            return Err(ApiError::bad_request("namespace may not be set on a cluster-scoped object"));
        }
        remove(metadata, "namespace");
        return Ok(());
    }
    if cx.info.namespace.is_empty() {
        return Err(ApiError::bad_request("an empty namespace may not be set during creation"));
    }
    if !given.is_empty() && given != cx.info.namespace {
        let text = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(ApiError::bad_request(text));
    }
    metadata["namespace"] = cx.info.namespace.as_str().into();
    Ok(())
}

/// A PUT's object has the name and namespace of its path.
fn check_name(cx: &Context, kind: &Kind, object: &mut Value) -> Result<(), ApiError> {
    let given = meta::name(object);
    if given.is_empty() {
        object["metadata"]["name"] = cx.info.name.as_str().into();
    } else if given != cx.info.name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({})",
            cx.info.name
        )));
    }
    check_namespace(cx, kind, object)
}

/// The time as Kubernetes writes it: UTC, whole seconds.
pub(crate) fn now() -> String {
    let seconds = jiff::Timestamp::now().as_second();
    jiff::Timestamp::from_second(seconds).map(|t| t.to_string()).unwrap_or_default()
}

/// Removes a field of an object.
pub(crate) fn remove(object: &mut Value, field: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.shift_remove(field);
    }
}

/// Makes a field of `to` what it is in `from`: there or not.
pub(crate) fn copy(from: &Value, to: &mut Value, field: &str) {
    match from.get(field) {
        Some(value) if !value.is_null() => to[field] = value.clone(),
        _ => remove(to, field),
    }
}
