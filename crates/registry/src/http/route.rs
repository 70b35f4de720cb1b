//! Paths of the distribution protocol. Repository names contain slashes, so the end of the path decides.

use http::Method;

/// What a path means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Base,
    Token,
    Catalog,
    Tags { repository: &'a str },
    Referrers { repository: &'a str, digest: &'a str },
    Manifest { repository: &'a str, reference: &'a str },
    Blob { repository: &'a str, digest: &'a str },
    Uploads { repository: &'a str },
    Upload { repository: &'a str, id: &'a str },
}

impl<'a> Route<'a> {
    pub(super) fn parse(path: &'a str) -> Option<Route<'a>> {
        let rest = path.strip_prefix("/v2")?;
        match rest {
            "" | "/" => return Some(Route::Base),
            "/token" => return Some(Route::Token),
            "/_catalog" => return Some(Route::Catalog),
            _ => {}
        }
        let rest = rest.strip_prefix('/')?;
        if let Some(repository) = rest.strip_suffix("/tags/list") {
            return Some(Route::Tags { repository });
        }
        if let Some(repository) =
            rest.strip_suffix("/blobs/uploads").or_else(|| rest.strip_suffix("/blobs/uploads/"))
        {
            return Some(Route::Uploads { repository });
        }
        let (head, last) = rest.rsplit_once('/')?;
        if let Some(repository) = head.strip_suffix("/blobs/uploads") {
            return Some(Route::Upload { repository, id: last });
        }
        let (repository, kind) = head.rsplit_once('/')?;
        match kind {
            "blobs" => Some(Route::Blob { repository, digest: last }),
            "manifests" => Some(Route::Manifest { repository, reference: last }),
            "referrers" => Some(Route::Referrers { repository, digest: last }),
            _ => None,
        }
    }

    /// The repository and the action that a caller has to be allowed.
    pub(super) fn needs(&self, method: &Method) -> Option<(&'a str, &'static str)> {
        let read = matches!(*method, Method::GET | Method::HEAD);
        match *self {
            Route::Base | Route::Token | Route::Catalog => None,
            Route::Tags { repository } | Route::Referrers { repository, .. } => Some((repository, "pull")),
            Route::Uploads { repository } | Route::Upload { repository, .. } => Some((repository, "push")),
            Route::Manifest { repository, .. } | Route::Blob { repository, .. } => Some((
                repository,
                match *method {
                    Method::DELETE => "delete",
                    _ if read => "pull",
                    _ => "push",
                },
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_path_decides() {
        let check =
            |path: &str, expected: Option<Route<'_>>| assert_eq!(Route::parse(path), expected, "{path}");
        check("/v2/", Some(Route::Base));
        check("/v2", Some(Route::Base));
        check("/v2/token", Some(Route::Token));
        check("/v2/_catalog", Some(Route::Catalog));
        check("/v2/a/b/tags/list", Some(Route::Tags { repository: "a/b" }));
        check("/v2/a/b/blobs/uploads/", Some(Route::Uploads { repository: "a/b" }));
        check("/v2/a/blobs/uploads/12", Some(Route::Upload { repository: "a", id: "12" }));
        check("/v2/a/b/blobs/sha256:1", Some(Route::Blob { repository: "a/b", digest: "sha256:1" }));
        check("/v2/blobs/manifests/v1", Some(Route::Manifest { repository: "blobs", reference: "v1" }));
        check("/v2/a/referrers/x", Some(Route::Referrers { repository: "a", digest: "x" }));
        check("/v2/a", None);
        check("/v2/a/b/c", None);
        check("/v1/", None);
    }
}
