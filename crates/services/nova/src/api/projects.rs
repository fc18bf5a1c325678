//! Whether a project that an administrator names exists, as far as the identity service can tell.

use crate::Nova;
use base::{Error, Result};
use oslo_http::percent_encode;
use sdk::{Caller, Method};

/// 400 in upstream's words if the identity service knows no such project; if it cannot be asked, the id is believed,
/// as upstream does.
pub async fn check(nova: &Nova, project: &str) -> Result<()> {
    let path = format!("/v3/projects/{}", percent_encode(project));
    match nova
        .sdk
        .request(Caller::Service, "identity", Method::GET, &path, None)
        .await
    {
        Err(error) if error.is_not_found() => Err(Error::bad_request(format!(
            "Project ID {project} is not a valid project."
        ))),
        Err(error) => {
            tracing::debug!(
                project,
                "identity could not be asked: {}",
                error.log_message()
            );
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}
