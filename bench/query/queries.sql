-- What analysts ask of telemetry. `t` is the table; $END its newest day, $LAST24 a day before its end.
-- "-- name" begins a query; "-- name @duckdb" or "-- name @chdb" is the same question in that dialect, where it differs.

-- count
SELECT count(*) AS n FROM t

-- fleet_levels
SELECT avg(vibration_mm_s) AS mean, min(vibration_mm_s) AS least, max(vibration_mm_s) AS most, stddev(motor_current_a) AS spread FROM t
-- fleet_levels @chdb
SELECT avg(vibration_mm_s) AS mean, min(vibration_mm_s) AS least, max(vibration_mm_s) AS most, stddevSamp(motor_current_a) AS spread FROM t

-- daily
SELECT date_trunc('day', event_time) AS day, count(*) AS n, avg(vibration_mm_s) AS mean, max(vibration_mm_s) AS most FROM t GROUP BY 1 ORDER BY 1

-- by_firmware
SELECT firmware, count(*) AS n, avg(drain_seconds) AS mean, stddev(drain_seconds) AS spread FROM t GROUP BY firmware ORDER BY firmware
-- by_firmware @chdb
SELECT firmware, count(*) AS n, avg(drain_seconds) AS mean, stddevSamp(drain_seconds) AS spread FROM t GROUP BY firmware ORDER BY firmware

-- one_device_series
SELECT event_time, vibration_mm_s, motor_current_a FROM t WHERE device_id = 'wm-012345' AND event_time >= $LAST24 ORDER BY event_time

-- one_device_history
SELECT date_trunc('hour', event_time) AS hour, avg(water_temperature_c) AS mean, max(vibration_mm_s) AS most FROM t WHERE device_id = 'wm-004711' GROUP BY 1 ORDER BY 1

-- top_devices
SELECT device_id, max(vibration_mm_s) AS most FROM t GROUP BY device_id ORDER BY most DESC, device_id LIMIT 20

-- device_means
SELECT device_id, count(*) AS n, avg(vibration_mm_s) AS mean, max(motor_current_a) AS most FROM t WHERE event_time >= $LAST24 GROUP BY device_id ORDER BY round(avg(vibration_mm_s), 6) DESC, device_id LIMIT 50

-- over_threshold
SELECT device_id, count(*) AS n FROM t WHERE vibration_mm_s > 2.9 AND motor_current_a > 3.6 GROUP BY device_id HAVING count(*) >= 3 ORDER BY n DESC, device_id LIMIT 100

-- selective
SELECT count(*) AS n, avg(drum_speed_rpm) AS speed FROM t WHERE vibration_mm_s > 3.0 AND water_temperature_c > 45.0

-- active_devices
SELECT date_trunc('day', event_time) AS day, count(DISTINCT device_id) AS devices FROM t GROUP BY 1 ORDER BY 1

-- distribution
SELECT CAST(floor(drain_seconds) AS BIGINT) AS bin, count(*) AS n FROM t GROUP BY 1 ORDER BY 1

-- correlation
SELECT firmware, corr(vibration_mm_s, motor_current_a) AS r FROM t GROUP BY firmware ORDER BY firmware

-- newest
SELECT device_id, max(event_time) AS newest FROM t GROUP BY device_id ORDER BY newest, device_id LIMIT 50

-- jumps
SELECT count(*) AS n FROM (SELECT vibration_mm_s - lag(vibration_mm_s) OVER (PARTITION BY device_id ORDER BY event_time) AS change FROM t WHERE event_time >= $LAST24) AS steps WHERE change > 0.8
-- jumps @chdb
SELECT count(*) AS n FROM (SELECT vibration_mm_s - lagInFrame(toNullable(vibration_mm_s)) OVER (PARTITION BY device_id ORDER BY event_time ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS change FROM t WHERE event_time >= $LAST24) AS steps WHERE change > 0.8

-- unlike_the_fleet
WITH fleet AS (SELECT firmware AS version, avg(vibration_mm_s) AS mean, stddev(vibration_mm_s) AS spread FROM t GROUP BY firmware), device AS (SELECT device_id, firmware, avg(vibration_mm_s) AS level FROM t GROUP BY device_id, firmware) SELECT device_id, (level - mean) / spread AS score FROM device JOIN fleet ON firmware = version ORDER BY score DESC, device_id LIMIT 20
-- unlike_the_fleet @chdb
WITH fleet AS (SELECT firmware AS version, avg(vibration_mm_s) AS mean, stddevSamp(vibration_mm_s) AS spread FROM t GROUP BY firmware), device AS (SELECT device_id, firmware, avg(vibration_mm_s) AS level FROM t GROUP BY device_id, firmware) SELECT device_id, (level - mean) / spread AS score FROM device JOIN fleet ON firmware = version ORDER BY score DESC, device_id LIMIT 20
