-- Whether this user may do what it takes; asking for the lineage is part of that
SELECT line.format, {lineage} AS lineage,
       has_table_privilege('{leases}', 'SELECT') AND has_table_privilege('{leases}', 'INSERT')
       AND has_table_privilege('{leases}', 'UPDATE') AND has_table_privilege('{line}', 'UPDATE')
       AS allowed
  FROM {line} AS line
