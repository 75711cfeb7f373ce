-- runs as it is on SQLite and on PostgreSQL
CREATE TABLE rooms (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE objects (
  id BIGINT PRIMARY KEY,
  room INTEGER REFERENCES rooms (id),
  title TEXT NOT NULL,
  note TEXT,
  "select" TEXT,
  century INTEGER
);
INSERT INTO rooms VALUES (1, 'East Wing');
INSERT INTO rooms VALUES (2, 'Print Cabinet');
INSERT INTO rooms VALUES (3, 'Depot');
INSERT INTO objects VALUES (11, 1, 'Astrolabe', 'Brass, engraved for the latitude of Lisbon; the maker signed it in 1587. One pin is missing.', 'loan', 16);
INSERT INTO objects VALUES (12, 1, 'Globe, celestial', 'Paper gores over plaster, about 1700. Scorpio has been repainted, badly.', NULL, NULL);
INSERT INTO objects VALUES (13, 2, 'View of a harbour', 'Etching, second state. Watermark: a jug. Probably printed between 1640 and 1660.', NULL, NULL);
INSERT INTO objects VALUES (14, 2, 'Wrapper for sugar', 'Woodcut in two colours, ca. 1825. Folded, with stains of its contents.', NULL, NULL);
INSERT INTO objects VALUES (15, 3, 'Shoe, left', 'Leather, child''s size, found in a wall in 1931. Fifteenth century by its turnshoe seam.', 'loan', NULL);
INSERT INTO objects VALUES (16, 3, 'Sampler', 'Silk on linen, signed "A.M. 1792, aged nine". Moth in the lower third.', NULL, NULL);
INSERT INTO objects VALUES (17, 1, 'Nocturnal', 'Boxwood. Scale worn smooth by use; seventeenth century.', NULL, NULL);
INSERT INTO objects VALUES (18, 3, 'Bottle, sealed', 'Green glass, seal of a tavern that burned down in 1721.', NULL, NULL);
INSERT INTO objects VALUES (19, 2, 'Map of a salt works', 'Pen and wash, 1768, with a scale in fathoms. Torn along two folds.', 'loan', NULL);
INSERT INTO objects VALUES (20, 3, 'Spoon', 'Pewter. No marks at all; bought with a lot of others in 1974.', NULL, NULL);
INSERT INTO objects VALUES (21, NULL, 'Frame without picture', NULL, NULL, NULL);
INSERT INTO objects VALUES (22, 1, 'Sundial, pocket', 'Ivory diptych, Nuremberg, 1613. The string gnomon is a modern replacement.', NULL, NULL);
INSERT INTO objects VALUES (23, 2, 'Ballot', 'Printed slip of 1848, filled in by hand for a candidate nobody remembers.', 'loan', NULL);
INSERT INTO objects VALUES (2147483648, 3, 'Crate label', 'Stencil on pine: "fragile {this side up}", twentieth century.', NULL, NULL);
