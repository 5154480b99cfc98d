-- $1 elections
WITH here AS MATERIALIZED (SELECT clock_timestamp() AS now)
SELECT {holding}
  FROM here CROSS JOIN {line} AS line
       CROSS JOIN unnest($1) WITH ORDINALITY AS asked (election, place)
       LEFT JOIN {leases} AS lease ON lease.election = asked.election
 ORDER BY asked.place
