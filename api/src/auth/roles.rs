//! Who may do what, in one table. A route that is missing here answers nobody.

use super::Role;

const AGENTS: &[Role] = &[Role::Agent, Role::Admin];
const ANALYSTS: &[Role] = &[Role::Analyst, Role::Admin];
const ADMINS: &[Role] = &[Role::Admin];
const ALL: &[Role] = &Role::ALL;

/// Routes that need no token.
pub const PUBLIC: &[&str] =
    &["/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs", "/docs/", "/docs/{*rest}"];

/// Method, path as matched, roles.
pub const ROUTES: &[(&str, &str, &[Role])] = &[
    ("GET", "/v1/advisories", ALL),
    ("GET", "/v1/advisories/{advisory_id}", ALL),
    ("GET", "/v1/alarms", ALL),
    ("GET", "/v1/alarms/{alarm_id}", ALL),
    ("POST", "/v1/dead-letters/replay", ADMINS),
    ("GET", "/v1/devices", ALL),
    ("GET", "/v1/devices/{device_id}", ALL),
    ("PUT", "/v1/devices/{device_id}/nameplate", AGENTS),
    ("POST", "/v1/devices/{device_id}/credential", ADMINS),
    ("DELETE", "/v1/devices/{device_id}/credential", ADMINS),
    ("GET", "/v1/devices/{device_id}/commands", ALL),
    ("POST", "/v1/devices/{device_id}/commands", AGENTS),
    ("GET", "/v1/events", AGENTS),
    ("GET", "/v1/maintenance-windows", ALL),
    ("POST", "/v1/maintenance-windows", AGENTS),
    ("GET", "/v1/maintenance-windows/{maintenance_window_id}", ALL),
    ("DELETE", "/v1/maintenance-windows/{maintenance_window_id}", AGENTS),
    ("POST", "/v1/outcomes", AGENTS),
    ("GET", "/v1/service-problems", ALL),
    ("GET", "/v1/service-problems/{service_problem_id}", ALL),
    ("PATCH", "/v1/service-problems/{service_problem_id}", AGENTS),
    ("POST", "/v1/sql", ANALYSTS),
    ("GET", "/v1/tickets", ALL),
    ("POST", "/v1/tickets", AGENTS),
    ("GET", "/v1/tickets/{ticket_id}", ALL),
    ("PATCH", "/v1/tickets/{ticket_id}", AGENTS),
    ("GET", "/v1/tokens", ADMINS),
    ("POST", "/v1/tokens", ADMINS),
    ("DELETE", "/v1/tokens/{token_id}", ADMINS),
    ("GET", "/v1/trends", ANALYSTS),
    ("GET", "/v1/trends/{name}", ANALYSTS),
    // visits
    ("GET", "/v1/devices/{device_id}/site", AGENTS),
    ("PUT", "/v1/devices/{device_id}/site", AGENTS),
    ("POST", "/v1/tickets/{ticket_id}/slots", AGENTS),
    ("GET", "/v1/technicians", AGENTS),
    ("POST", "/v1/technicians", ADMINS),
    ("GET", "/v1/technicians/{technician_id}", AGENTS),
    ("PATCH", "/v1/technicians/{technician_id}", ADMINS),
    ("GET", "/v1/appointments", AGENTS),
    ("POST", "/v1/appointments", AGENTS),
    ("GET", "/v1/appointments/{appointment_id}", AGENTS),
    ("PATCH", "/v1/appointments/{appointment_id}", AGENTS),
    ("GET", "/v1/appointments/{appointment_id}/calendar.ics", AGENTS),
];

/// The methods of a path that are in the table.
pub(crate) fn methods(path: &str) -> Vec<&'static str> {
    ROUTES.iter().filter(|(_, route, _)| *route == path).map(|(method, _, _)| *method).collect()
}

/// The roles that may use a route.
pub(crate) fn allowed(method: &str, path: &str) -> Option<&'static [Role]> {
    let method = if method == "HEAD" { "GET" } else { method };
    ROUTES.iter().find(|(m, route, _)| *m == method && *route == path).map(|(_, _, roles)| *roles)
}
