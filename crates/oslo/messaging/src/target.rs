//! Where a message goes, in upstream's terms.

/// An address on the bus. A topic alone is "one of them, in turn"; with a server it is that one; with fanout, all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Target {
    /// The exchange: the name of the service that owns the topic (`nova`, `neutron`, `cinder`).
    pub exchange: String,
    /// What kind of server.
    pub topic: String,
    /// Which server.
    pub server: Option<String>,
    /// All of them; only casts can fan out.
    pub fanout: bool,
    /// The version of the interface that the message was written for (`6.0`); none is not checked.
    pub version: Option<String>,
    /// The part of the server's interface that the method belongs to.
    pub namespace: Option<String>,
}

impl Target {
    /// One of the servers of a topic.
    pub fn topic(exchange: &str, topic: &str) -> Target {
        Target {
            exchange: exchange.to_string(),
            topic: topic.to_string(),
            ..Target::default()
        }
    }

    /// That server of the topic.
    pub fn server(mut self, server: &str) -> Target {
        self.server = Some(server.to_string());
        self
    }

    /// All servers of the topic.
    pub fn fanout(mut self) -> Target {
        self.fanout = true;
        self
    }

    /// For messages written for this version of the interface.
    pub fn version(mut self, version: &str) -> Target {
        self.version = Some(version.to_string());
        self
    }

    /// The queue of a message that is not fanned out: `topic` or `topic.server`.
    pub(crate) fn queue(&self) -> String {
        match &self.server {
            Some(server) => format!("{}.{server}", self.topic),
            None => self.topic.clone(),
        }
    }
}
