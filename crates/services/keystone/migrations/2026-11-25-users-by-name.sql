-- A domain's users page by page, and users by what they are called, among a million others.
CREATE INDEX identity_users_of_domain ON identity_users (domain_id, id);
CREATE INDEX identity_users_called ON identity_users (name);
CREATE INDEX identity_users_shown ON identity_users (display_name);
