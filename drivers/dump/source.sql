-- What dump/check.sh dumps: one of each kind of thing, rows of all sizes.
CREATE SCHEMA shop;
CREATE TYPE shop.mood AS ENUM ('sad', 'ok', 'it''s "fine"');
CREATE DOMAIN shop.positive AS int CHECK (VALUE > 0);
CREATE SEQUENCE shop.numbers START 1000 INCREMENT 7;
SELECT nextval('shop.numbers'), nextval('shop.numbers');

CREATE TABLE shop.customers (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name text NOT NULL UNIQUE,
	mood shop.mood DEFAULT 'ok',
	amount numeric(30, 10),
	at timestamptz,
	b bytea,
	a int[],
	j jsonb,
	upper_name text GENERATED ALWAYS AS (upper(name)) STORED
);
COMMENT ON TABLE shop.customers IS 'a comment; with ''quotes'' and $$';
INSERT INTO shop.customers (name, mood, amount, at, b, a, j)
	SELECT format(E'O''Brien %s\ttab\\ \n üñ→漢字🐘', i), CASE WHEN i % 3 = 0 THEN 'sad'::shop.mood END, i / 7.0,
		'2001-02-03 UTC'::timestamptz + i * interval '1 hour', decode(repeat(lpad(to_hex(i % 256), 2, '0'), i), 'hex'),
		ARRAY[i, NULL, -i], jsonb_build_object('i', i, 'list', ARRAY[i])
	FROM generate_series(1, 2000) i;

-- Rows that do not fit into one read of anybody.
CREATE TABLE shop.large (id int PRIMARY KEY, body text);
INSERT INTO shop.large SELECT i, repeat(md5(i::text), 32768 * i) FROM generate_series(1, 6) i;

CREATE TABLE shop.orders (id int NOT NULL, customer bigint REFERENCES shop.customers, day date NOT NULL, n shop.positive) PARTITION BY RANGE (day);
CREATE TABLE shop.orders_old PARTITION OF shop.orders FOR VALUES FROM (MINVALUE) TO ('2002-01-01');
CREATE TABLE shop.orders_new PARTITION OF shop.orders FOR VALUES FROM ('2002-01-01') TO (MAXVALUE);
INSERT INTO shop.orders SELECT i, i % 2000 + 1, '2001-01-01'::date + i % 700, i FROM generate_series(1, 20000) i;
CREATE INDEX ON shop.orders (customer) WHERE n > 10;

CREATE FUNCTION shop.total(c bigint) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT sum(n) FROM shop.orders WHERE customer = c $$;
CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql SET search_path = shop AS $body$
BEGIN
	IF NEW.n > 1000000 THEN RAISE EXCEPTION 'too much: % $$', NEW.n; END IF;
	RETURN NEW;
END $body$;
CREATE TRIGGER touch BEFORE INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.touch();
CREATE PROCEDURE shop.nothing() LANGUAGE plpgsql AS 'BEGIN NULL; END';
CREATE AGGREGATE shop.concat_all(text) (SFUNC = textcat, STYPE = text, INITCOND = '');

CREATE VIEW shop.rich AS SELECT id, name, shop.total(id) FROM shop.customers WHERE amount > 100 WITH LOCAL CHECK OPTION;
CREATE MATERIALIZED VIEW shop.moods AS SELECT mood, count(*) FROM shop.customers GROUP BY mood ORDER BY mood;
CREATE RULE no_delete AS ON DELETE TO shop.large DO INSTEAD NOTHING;
ALTER TABLE shop.customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY everyone ON shop.customers USING (true);
GRANT SELECT ON shop.rich TO drivers_role;
SELECT lo_from_bytea(0, decode(repeat('00ff', 100000), 'hex')) IS NOT NULL;
