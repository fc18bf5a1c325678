//! The `[placement]` section.

oslo_config::section! {
    /// How placement behaves.
    pub struct PlacementConf in "placement" {
        /// Project of consumers that are written below microversion 1.8, which names none.
        pub incomplete_consumer_project_id: String = "00000000-0000-0000-0000-000000000000".to_string(),
        /// User of consumers that are written below microversion 1.8.
        pub incomplete_consumer_user_id: String = "00000000-0000-0000-0000-000000000000".to_string(),
        /// The identity service's public address, for WWW-Authenticate.
        pub www_authenticate_uri: String = "http://127.0.0.1:5000/".to_string(),
        /// The operator's policy file.
        pub policy_file: Option<std::path::PathBuf> = None,
    }
}
