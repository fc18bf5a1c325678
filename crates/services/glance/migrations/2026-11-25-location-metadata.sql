ALTER TABLE image_locations ADD COLUMN metadata TEXT;
