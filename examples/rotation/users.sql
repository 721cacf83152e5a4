-- A database administrator's part, in the database `orders`: psql -v steward=… -v first=… -d orders -f users.sql
-- One owner that nobody logs in as, and two users that act as it: what one makes belongs to the other as well.
CREATE ROLE orders_owner NOLOGIN;
GRANT CREATE ON DATABASE orders TO orders_owner;
CREATE ROLE orders_a LOGIN PASSWORD :'first';
CREATE ROLE orders_b NOLOGIN;
GRANT orders_owner TO orders_a, orders_b;
ALTER ROLE orders_a SET role TO orders_owner;
ALTER ROLE orders_b SET role TO orders_owner;
GRANT CONNECT ON DATABASE orders TO orders_a, orders_b;

-- Who sets their passwords: of these two users and no other. pg_signal_backend is for `retire: Now`, which ends sessions,
-- and pg_read_all_stats for spec.promote.sessionsQuiet.
CREATE ROLE steward LOGIN CREATEROLE PASSWORD :'steward';
GRANT CONNECT ON DATABASE orders TO steward;
GRANT orders_a, orders_b TO steward WITH ADMIN OPTION;
GRANT pg_signal_backend, pg_read_all_stats TO steward;
