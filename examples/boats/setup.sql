-- The table of a harbour's own program. Its owner has said already what one boat is good for.
CREATE TABLE boats (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  built INTEGER,
  length_m REAL,
  harbour TEXT,
  text TEXT,
  good_for VARCHAR(80)
);
INSERT INTO boats VALUES (1, 'Albatross', 1978, 12.5, 'Fennmouth', 'A wooden ketch with two masts, restored twice.', NULL);
INSERT INTO boats VALUES (2, 'Brisk', 2004, 7.2, 'Little Quay', 'A light glass fibre sloop for two.', 'racing on Sundays');
INSERT INTO boats VALUES (3, 'Gannet', NULL, 11.3, 'Fennmouth', '', NULL);
