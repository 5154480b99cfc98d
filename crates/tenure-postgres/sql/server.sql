-- What kind of server this is, before anything is asked of it
SELECT pg_is_in_recovery() AS recovering,
       current_setting('transaction_read_only') = 'on' AS read_only,
       current_setting('server_version_num')::integer AS version,
       current_setting('fsync') = 'on' AS fsync,
       current_setting('full_page_writes') = 'on' AS full_pages,
       current_setting('synchronous_standby_names') <> '' AS synchronous,
       pg_backend_pid() AS pid
