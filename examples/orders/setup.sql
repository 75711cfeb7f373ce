-- Two tables of a shop, as they might stand in your own database; runs as it is on SQLite and on PostgreSQL.
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, town TEXT NOT NULL);

CREATE TABLE orders (
  id BIGINT PRIMARY KEY,
  customer INTEGER NOT NULL REFERENCES customers (id),
  article TEXT NOT NULL,
  message TEXT,
  urgency TEXT
);

INSERT INTO customers VALUES
  (1, 'Orla Pennywhistle', 'Saltmarsh'),
  (2, 'Bram Okonjo-Veldt', 'Upper Dray'),
  (3, 'Teodora Klimt-Ashby', 'Saltmarsh'),
  (4, 'Casimir Lunt', 'Ferry Hook');

INSERT INTO orders VALUES
  (1001, 1, 'garden bench', 'The bench arrived with a cracked leg. Please send a new one before the party on 3 May.', NULL),
  (1002, 1, 'parasol', 'Where is my parasol? You said it would be delivered last week.', NULL),
  (1003, 2, 'bird bath', 'Lovely bird bath, thank you. May I have the invoice again?', NULL),
  (1004, 2, 'bench cushion', 'I would like to return the cushion, it is the wrong colour.', NULL),
  (1005, 2, 'watering can', NULL, NULL),
  (1006, 3, 'fire bowl', 'The invoice says 129.00, and I was charged 192.00. Please refund the difference today.', NULL),
  (1007, 3, 'wind chime', 'Please cancel this order; I ordered the wind chime twice.', 'high'),
  (1008, 4, 'rain barrel', 'The barrel leaks at the tap, and the cellar is under water. I need help now!', NULL),
  (1009, 4, 'compost bin', 'Can you deliver the bin to my neighbour at number 12 instead?', NULL),
  (1010, 4, 'hammock', '   ', NULL);
