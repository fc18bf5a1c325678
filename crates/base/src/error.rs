//! One transport-free error for the whole house.
//!
//! A function says *what kind* of thing went wrong and, in words, what the caller can change. The HTTP
//! status and body are made once, in `oslo-http`, by each service's fault style; over RPC the kind and
//! words travel unchanged (`oslo-messaging`).

use std::fmt;

/// The result of nearly every function in the house.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a program may act on. Each kind has one usual HTTP status, see [`Kind::status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// 400: the request is wrong and would be wrong tomorrow too.
    BadRequest,
    /// 401: no token, or not a valid one.
    Unauthorized,
    /// 403: a valid caller who may not do this.
    Forbidden,
    /// 403 in nova and glance, 413 in cinder, 409 in neutron: a quota would be exceeded.
    OverQuota,
    /// 404: no such thing, or none that this caller may see.
    NotFound,
    /// 405.
    MethodNotAllowed,
    /// 406: a representation or microversion that is not offered.
    NotAcceptable,
    /// 409: the thing exists already, changed meanwhile, or is in a state that forbids this.
    Conflict,
    /// 410: once existed, never comes back.
    Gone,
    /// 412.
    PreconditionFailed,
    /// 413: the body is larger than allowed.
    TooLarge,
    /// 415.
    UnsupportedMediaType,
    /// 416.
    RangeNotSatisfiable,
    /// 429.
    TooManyRequests,
    /// 501: a feature that this cloud does not offer.
    NotImplemented,
    /// 503: a part of the cloud that is needed does not answer; trying again may help.
    Unavailable,
    /// 504: somebody did not answer in time; whether the work was done is not known.
    Timeout,
    /// 300: the caller must choose a version.
    MultipleChoices,
    /// 500: our own fault. The words never reach the caller.
    Internal,
}

impl Kind {
    /// The usual HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Kind::MultipleChoices => 300,
            Kind::BadRequest => 400,
            Kind::Unauthorized => 401,
            Kind::Forbidden | Kind::OverQuota => 403,
            Kind::NotFound => 404,
            Kind::MethodNotAllowed => 405,
            Kind::NotAcceptable => 406,
            Kind::Conflict => 409,
            Kind::Gone => 410,
            Kind::PreconditionFailed => 412,
            Kind::TooLarge => 413,
            Kind::UnsupportedMediaType => 415,
            Kind::RangeNotSatisfiable => 416,
            Kind::TooManyRequests => 429,
            Kind::Internal => 500,
            Kind::NotImplemented => 501,
            Kind::Unavailable => 503,
            Kind::Timeout => 504,
        }
    }

    /// The kind of an answer that came back over HTTP.
    pub fn from_status(status: u16) -> Kind {
        match status {
            300 => Kind::MultipleChoices,
            400 | 422 => Kind::BadRequest,
            401 => Kind::Unauthorized,
            403 => Kind::Forbidden,
            404 => Kind::NotFound,
            405 => Kind::MethodNotAllowed,
            406 => Kind::NotAcceptable,
            409 => Kind::Conflict,
            410 => Kind::Gone,
            412 => Kind::PreconditionFailed,
            413 => Kind::TooLarge,
            415 => Kind::UnsupportedMediaType,
            416 => Kind::RangeNotSatisfiable,
            429 => Kind::TooManyRequests,
            501 => Kind::NotImplemented,
            503 => Kind::Unavailable,
            504 => Kind::Timeout,
            _ => Kind::Internal,
        }
    }

    /// The name used on the wire between our own processes.
    pub fn name(self) -> &'static str {
        KINDS
            .iter()
            .find(|(k, _)| *k == self)
            .map_or("Internal", |(_, n)| n)
    }

    /// The inverse of [`Kind::name`]; unknown names are [`Kind::Internal`].
    pub fn from_name(name: &str) -> Kind {
        KINDS
            .iter()
            .find(|(_, n)| *n == name)
            .map_or(Kind::Internal, |(k, _)| *k)
    }
}

const KINDS: &[(Kind, &str)] = &[
    (Kind::BadRequest, "BadRequest"),
    (Kind::Unauthorized, "Unauthorized"),
    (Kind::Forbidden, "Forbidden"),
    (Kind::OverQuota, "OverQuota"),
    (Kind::NotFound, "NotFound"),
    (Kind::MethodNotAllowed, "MethodNotAllowed"),
    (Kind::NotAcceptable, "NotAcceptable"),
    (Kind::Conflict, "Conflict"),
    (Kind::Gone, "Gone"),
    (Kind::PreconditionFailed, "PreconditionFailed"),
    (Kind::TooLarge, "TooLarge"),
    (Kind::UnsupportedMediaType, "UnsupportedMediaType"),
    (Kind::RangeNotSatisfiable, "RangeNotSatisfiable"),
    (Kind::TooManyRequests, "TooManyRequests"),
    (Kind::NotImplemented, "NotImplemented"),
    (Kind::Unavailable, "Unavailable"),
    (Kind::Timeout, "Timeout"),
    (Kind::MultipleChoices, "MultipleChoices"),
    (Kind::Internal, "Internal"),
];

/// An error: a kind, words for the caller, and (never shown to callers) words for the log.
#[derive(Clone)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Clone)]
struct Inner {
    kind: Kind,
    message: String,
    class: Option<String>,
    log: Option<String>,
}

impl Error {
    /// An error of `kind` with words for the caller.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error {
            inner: Box::new(Inner {
                kind,
                message: message.into(),
                class: None,
                log: None,
            }),
        }
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Error {
        Error::new(Kind::BadRequest, message)
    }

    /// 401.
    pub fn unauthorized(message: impl Into<String>) -> Error {
        Error::new(Kind::Unauthorized, message)
    }

    /// 403.
    pub fn forbidden(message: impl Into<String>) -> Error {
        Error::new(Kind::Forbidden, message)
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Error {
        Error::new(Kind::NotFound, message)
    }

    /// 409.
    pub fn conflict(message: impl Into<String>) -> Error {
        Error::new(Kind::Conflict, message)
    }

    /// A quota would be exceeded.
    pub fn over_quota(message: impl Into<String>) -> Error {
        Error::new(Kind::OverQuota, message)
    }

    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Error {
        Error::new(Kind::Unavailable, message)
    }

    /// 500: the words go to the log only; the caller sees "internal error" and the request id.
    pub fn internal(log: impl fmt::Display) -> Error {
        let mut error = Error::new(
            Kind::Internal,
            "An unexpected error prevented the server from fulfilling your request.",
        );
        error.inner.log = Some(log.to_string());
        error
    }

    /// Adds upstream's error class, for services whose clients match on it (neutron `type`, placement `code`).
    pub fn class(mut self, class: impl Into<String>) -> Error {
        self.inner.class = Some(class.into());
        self
    }

    /// Adds words for the log.
    pub fn log(mut self, log: impl fmt::Display) -> Error {
        self.inner.log = Some(log.to_string());
        self
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.inner.kind
    }

    /// Words for the caller.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// Upstream's error class, if one was given.
    pub fn error_class(&self) -> Option<&str> {
        self.inner.class.as_deref()
    }

    /// Words for the log: what was given, else the caller's words.
    pub fn log_message(&self) -> &str {
        self.inner.log.as_deref().unwrap_or(&self.inner.message)
    }

    /// Whether this is a [`Kind::NotFound`], which idempotent deletes take for success.
    pub fn is_not_found(&self) -> bool {
        self.inner.kind == Kind::NotFound
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.log_message())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.inner.kind, self.log_message())
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Error {
        Error::internal(e)
    }
}

impl From<serde_json::Error> for Error {
    fn from(e: serde_json::Error) -> Error {
        Error::internal(format!("json: {e}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_its_name() {
        for (kind, name) in KINDS {
            assert_eq!(Kind::from_name(name), *kind);
            assert_eq!(kind.name(), *name);
        }
    }

    #[test]
    fn internal_words_stay_inside() {
        let error = Error::internal("password=hunter2");
        assert!(!error.message().contains("hunter2"));
        assert!(error.log_message().contains("hunter2"));
    }
}
