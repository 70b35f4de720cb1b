//! What all requests share: the store, the catalog of kinds, caches derived from the store, and the locks of the few writes that look at more than one object.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use object::kinds;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use crate::authorization::rbac::Rules;
use crate::catalog::{Catalog, Kind};
use crate::custom;
use crate::store::{OpenError, Store};
use crate::tokens::Signer;
use crate::{Options, User};

/// Collections that caches depend on.
const DEFINITIONS: &str = "apiextensions.k8s.io/customresourcedefinitions";
const RBAC: [&str; 4] = [
    "rbac.authorization.k8s.io/clusterroles",
    "rbac.authorization.k8s.io/clusterrolebindings",
    "rbac.authorization.k8s.io/roles",
    "rbac.authorization.k8s.io/rolebindings",
];

/// The shared state of a server.
pub(crate) struct Api {
    pub(crate) options: Options,
    pub(crate) store: Store,
    pub(crate) signer: Signer,
    /// Cancelled when the server closes: ends watches.
    pub(crate) closing: CancellationToken,
    /// The catalog, with the revision of the definitions that it was made from.
    catalog: RwLock<(u64, Arc<Catalog>)>,
    /// RBAC, with the revision that it was read at.
    rules: Mutex<(u64, Option<Arc<Rules>>)>,
    /// Documents made from the catalog, with the catalog's number.
    documents: Mutex<(u64, HashMap<String, Bytes>)>,
    services: AsyncMutex<()>,
    definition_names: AsyncMutex<()>,
}

impl Api {
    pub(crate) fn open(options: Options) -> Result<Arc<Self>, OpenError> {
        let store = Store::open(&options.dir)?;
        let signer = Signer::open(&options.dir)?;
        Ok(Arc::new(Self {
            options,
            store,
            signer,
            closing: CancellationToken::new(),
            catalog: RwLock::new((0, Arc::new(Catalog::new(vec![], 0)))),
            rules: Mutex::default(),
            documents: Mutex::default(),
            services: AsyncMutex::default(),
            definition_names: AsyncMutex::default(),
        }))
    }

    /// The kinds that are served now: never older than what the caller has seen of the definitions.
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        let changed = self.store.changed(DEFINITIONS);
        {
            let current = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
            if current.0 >= changed {
                return Arc::clone(&current.1);
            }
        }
        let mut current = self.catalog.write().unwrap_or_else(PoisonError::into_inner);
        // Read first, so that a change in between makes the next caller read again.
        let changed = self.store.changed(DEFINITIONS);
        let kinds = custom::kinds(&self.store.list(DEFINITIONS, ""), &current.1);
        *current = (changed, Arc::new(Catalog::new(kinds, current.1.number + 1)));
        Arc::clone(&current.1)
    }

    /// The user of a bearer token.
    pub(crate) fn authenticate(&self, token: &str) -> Option<User> {
        self.signer.verify(self, token).or_else(|| (self.options.authenticate)(token))
    }

    /// Has to be held while an object of a kind is admitted and stored whose admission looks at all others: addresses of services,
    /// names of definitions.
    pub(crate) async fn serialised(&self, kind: &Kind) -> Option<MutexGuard<'_, ()>> {
        if kind.is(&kinds::SERVICE) {
            Some(self.services.lock().await)
        } else if kind.is(&kinds::CUSTOM_RESOURCE_DEFINITION) {
            Some(self.definition_names.lock().await)
        } else {
            None
        }
    }

    /// RBAC as it stands.
    pub(crate) fn rules(&self) -> Arc<Rules> {
        let changed = RBAC.iter().map(|collection| self.store.changed(collection)).max().unwrap_or(0);
        let mut cached = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        if let (revision, Some(rules)) = &*cached
            && *revision >= changed
        {
            return Arc::clone(rules);
        }
        let rules = Arc::new(Rules::load(&self.store));
        *cached = (changed, Some(Arc::clone(&rules)));
        rules
    }

    /// A document that depends on nothing but the catalog: made once for each state of it.
    pub(crate) fn document(&self, name: &str, make: impl FnOnce(&Catalog) -> Bytes) -> Bytes {
        let catalog = self.catalog();
        {
            let documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
            if let (number, Some(found)) = (documents.0, documents.1.get(name))
                && number == catalog.number
            {
                return found.clone();
            }
        }
        let made = make(&catalog);
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        if documents.0 != catalog.number {
            *documents = (catalog.number, HashMap::new());
        }
        documents.1.insert(name.to_owned(), made.clone());
        made
    }

    /// All CustomResourceDefinitions.
    pub(crate) fn definitions(&self) -> Vec<serde_json::Value> {
        self.store.list(DEFINITIONS, "").items.iter().map(|(_, e)| crate::convert::parse(&e.value)).collect()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}
