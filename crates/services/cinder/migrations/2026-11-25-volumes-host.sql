CREATE INDEX volumes_host ON volumes (host, size, growing_by);
