//! Upstream's errors by name: class and words as clients match on them.

use base::Error;

pub(crate) fn invalid_input(reason: impl std::fmt::Display) -> Error {
    Error::bad_request(format!("Invalid input for operation: {reason}.")).class("InvalidInput")
}

pub(crate) fn bad(resource: &str, message: impl std::fmt::Display) -> Error {
    Error::bad_request(format!("Bad {resource} request: {message}.")).class("BadRequest")
}

pub(crate) fn not_found(member: &str, id: &str) -> Error {
    let (class, message) = match member {
        "network" => (
            "NetworkNotFound",
            format!("Network {id} could not be found."),
        ),
        "subnet" => ("SubnetNotFound", format!("Subnet {id} could not be found.")),
        "port" => ("PortNotFound", format!("Port {id} could not be found.")),
        "router" => ("RouterNotFound", format!("Router {id} could not be found")),
        "floatingip" => (
            "FloatingIPNotFound",
            format!("Floating IP {id} could not be found"),
        ),
        "security_group" => (
            "SecurityGroupNotFound",
            format!("Security group {id} does not exist"),
        ),
        "security_group_rule" => (
            "SecurityGroupRuleNotFound",
            format!("Security group rule {id} does not exist"),
        ),
        "agent" => ("AgentNotFound", format!("Agent {id} could not be found.")),
        "rbac_policy" => (
            "RbacPolicyNotFound",
            format!("RBAC policy of type network with ID {id} not found"),
        ),
        _ => (
            "HTTPNotFound",
            "The resource could not be found.".to_string(),
        ),
    };
    Error::not_found(message).class(class)
}

pub(crate) fn subnet_in_use(id: &str, reason: &str) -> Error {
    Error::conflict(format!(
        "Unable to complete operation on subnet {id}: {reason}."
    ))
    .class("SubnetInUse")
}

pub(crate) fn conflict(class: &str, message: impl Into<String>) -> Error {
    Error::conflict(message).class(class)
}

pub(crate) fn refused(class: &str, message: impl Into<String>) -> Error {
    Error::bad_request(message).class(class)
}

pub(crate) fn denied(action: &str) -> Error {
    Error::forbidden(format!("rule:{action} is disallowed by policy")).class("PolicyNotAuthorized")
}
