use std::collections::BTreeSet;

use serde_json::json;

use super::*;

/// Every route and who may use it, written down a second time: a route that is not here fails the test.
const EXPECTED: &str = "
GET    /health/live                                   everybody
GET    /health/ready                                  everybody
GET    /metrics                                       everybody
GET    /v1/advisories                                 agent analyst admin
GET    /v1/advisories/{advisory_id}                   agent analyst admin
GET    /v1/alarms                                     agent analyst admin
GET    /v1/alarms/{alarm_id}                          agent analyst admin
GET    /v1/appointments                               agent admin
POST   /v1/appointments                               agent admin
GET    /v1/appointments/{appointment_id}              agent admin
PATCH  /v1/appointments/{appointment_id}              agent admin
GET    /v1/appointments/{appointment_id}/calendar.ics agent admin
POST   /v1/dead-letters/replay                        admin
GET    /v1/devices                                    agent analyst admin
GET    /v1/devices/{device_id}                        agent analyst admin
GET    /v1/devices/{device_id}/commands               agent analyst admin
POST   /v1/devices/{device_id}/commands               agent admin
POST   /v1/devices/{device_id}/credential             admin
DELETE /v1/devices/{device_id}/credential             admin
PUT    /v1/devices/{device_id}/nameplate              agent admin
GET    /v1/devices/{device_id}/site                   agent admin
PUT    /v1/devices/{device_id}/site                   agent admin
GET    /v1/events                                     agent admin
GET    /v1/maintenance-windows                        agent analyst admin
POST   /v1/maintenance-windows                        agent admin
GET    /v1/maintenance-windows/{maintenance_window_id} agent analyst admin
DELETE /v1/maintenance-windows/{maintenance_window_id} agent admin
POST   /v1/outcomes                                   agent admin
GET    /v1/service-problems                           agent analyst admin
GET    /v1/service-problems/{service_problem_id}      agent analyst admin
PATCH  /v1/service-problems/{service_problem_id}      agent admin
POST   /v1/sql                                        analyst admin
GET    /v1/technicians                                agent admin
POST   /v1/technicians                                admin
GET    /v1/technicians/{technician_id}                agent admin
PATCH  /v1/technicians/{technician_id}                admin
GET    /v1/tickets                                    agent analyst admin
POST   /v1/tickets                                    agent admin
GET    /v1/tickets/{ticket_id}                        agent analyst admin
PATCH  /v1/tickets/{ticket_id}                        agent admin
POST   /v1/tickets/{ticket_id}/slots                  agent admin
GET    /v1/tokens                                     admin
POST   /v1/tokens                                     admin
DELETE /v1/tokens/{token_id}                          admin
GET    /v1/trends                                     analyst admin
GET    /v1/trends/{name}                              analyst admin
GET    /v1/trends/{name}.svg                          analyst admin
";

fn documented() -> BTreeSet<(String, String)> {
    let document = serde_json::to_value(crate::app::document()).unwrap();
    let mut routes = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            routes.insert((method.to_uppercase(), path.clone()));
        }
    }
    routes
}

#[tokio::test]
async fn every_documented_route_lets_in_whom_it_should_and_nobody_else() {
    let world = World::new().await;
    let mut routes = documented();
    for line in EXPECTED.trim().lines() {
        let mut words = line.split_whitespace();
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let allowed: Vec<&str> = words.collect();
        assert!(routes.remove(&(method.to_owned(), path.to_owned())), "{method} {path} is not documented");
        let path = path.replace(['{', '}'], "");
        for who in ["", "agent", "analyst", "admin"] {
            let response = world.response(who, &format!("{method} {path}"), &[], "").await;
            let status = response.status().as_u16();
            let open = allowed == ["everybody"];
            match (who, open || allowed.contains(&who)) {
                (_, true) => assert!(![401, 403, 405, 500].contains(&status), "{who} {method} {path}: {status}"),
                ("", false) => assert_eq!(status, 401, "nobody {method} {path}"),
                (_, false) => assert_eq!(status, 403, "{who} {method} {path}"),
            }
        }
    }
    assert_eq!(routes, BTreeSet::new(), "routes that nobody thought about");
}

#[tokio::test]
async fn tokens_that_are_none_are_refused_and_unknown_paths_tell_nothing() {
    let world = World::new().await;
    let good = format!("Bearer {}", world.tokens["agent"]);
    for (header, status) in [
        (good.as_str(), 200),
        (&good.replace("Bearer", "bearer"), 200),
        ("Bearer", 401),
        ("Bearer fw_", 401),
        ("Bearer fw_00_00", 401),
        ("Basic YTpi", 401),
        (&good[..good.len() - 1], 401),
        ("Bearer fw_' or 1=1 --_x", 401),
    ] {
        let answer = world.send("", "GET /v1/tickets", &[("authorization", header)], "").await;
        assert_eq!(answer.status, status, "{header}");
        if status == 401 {
            assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"forewarn\"");
            assert_eq!(answer.header("content-type"), "application/problem+json");
        }
    }
    for (who, line, status) in [
        ("", "GET /v1/nothing", 401),
        ("", "GET /", 401),
        ("agent", "GET /v1/nothing", 404),
        ("agent", "DELETE /v1/tickets", 405),
        ("agent", "OPTIONS /v1/tickets", 405),
        ("", "GET /openapi.json", 200),
    ] {
        assert_eq!(world.ask(who, line, "").await.status, status, "{who} {line}");
    }
    let docs = world.ask("", "GET /docs/", "").await;
    assert_eq!(docs.status, 200);
    assert!(docs.text().contains("swagger-ui"));
}

#[tokio::test]
async fn a_token_is_made_shown_once_used_and_revoked() {
    let world = World::new().await;
    let made =
        world.json("admin", "POST /v1/tokens", json!({"name": "cron", "role": "analyst"}), StatusCode::CREATED).await;
    let header = format!("Bearer {}", made["secret"].as_str().unwrap());
    let headers = [("authorization", header.as_str())];
    let ask = || world.send("", "GET /v1/devices", &headers, "");
    assert_eq!(ask().await.status, 200);
    let listed = world.ask("admin", "GET /v1/tokens", "").await;
    assert!(!listed.text().contains(made["secret"].as_str().unwrap()));
    assert_eq!(listed.json()["tokens"].as_array().unwrap().len(), 4);
    let line = format!("DELETE /v1/tokens/{}", made["token"]["token_id"].as_str().unwrap());
    assert_eq!(world.ask("stranger", &line, "").await.status, 404, "another tenant's");
    assert_eq!(ask().await.status, 200);
    assert_eq!(world.ask("admin", &line, "").await.status, 204);
    assert_eq!(ask().await.status, 401);
    assert_eq!(world.ask("admin", &line, "").await.status, 404);
    for (body, field) in [
        (json!({"name": "", "role": "agent"}), "name"),
        (json!({"name": "x", "role": "root"}), "role"),
        (json!({"name": "x", "role": "agent", "tenant": "other"}), "tenant"),
    ] {
        let problem = world.json("admin", "POST /v1/tokens", body, StatusCode::BAD_REQUEST).await;
        assert_eq!(problem["field"], field);
    }
}

#[tokio::test]
async fn a_tenant_sees_nothing_of_another() {
    let world = World::new().await;
    let one = alarm("wm-17", 0);
    world.alarms(std::slice::from_ref(&one)).await;
    let ticket = world.tickets().await[0]["ticket_id"].as_str().unwrap().to_owned();
    for (line, body) in [
        (format!("GET /v1/tickets/{ticket}"), json!(null)),
        (format!("PATCH /v1/tickets/{ticket}"), json!({"owner": "eve"})),
        (format!("GET /v1/alarms/{}", one.alarm_id), json!(null)),
        ("GET /v1/devices/wm-17".to_owned(), json!(null)),
    ] {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        assert_eq!(world.ask("stranger", &line, body).await.status, 404, "{line}");
    }
    for list in ["tickets", "alarms", "advisories", "devices"] {
        let page = world.json("stranger", &format!("GET /v1/{list}"), "", StatusCode::OK).await;
        assert_eq!(page[list], json!([]));
    }
    let outcome =
        json!({"device_id": "wm-17", "fault_key": "a/b", "disposition": "no_fault_found", "ticket_id": ticket});
    assert_eq!(world.ask("stranger", "POST /v1/outcomes", outcome).await.status, 422);
}

#[tokio::test]
async fn a_device_password_made_over_http_opens_the_gateway_at_once() {
    use schemas::door::{DeviceAuth, Login};
    let world = World::new().await;
    let line = "POST /v1/devices/wm-17/credential";
    let made = world.json("admin", line, "", StatusCode::CREATED).await;
    let password = made["password"].as_str().unwrap().as_bytes();
    let login = Login { client_id: "wm-17", user_name: Some("wm-17"), password: Some(password), certified: None };
    assert_eq!(world.app.credentials.login(&login).unwrap().tenant, world.tenant);
    assert_eq!(world.ask("stranger", line, "").await.status, 409);
    assert_eq!(world.ask("admin", "DELETE /v1/devices/wm-17/credential", "").await.status, 204);
    assert!(world.app.credentials.login(&login).is_err());
    assert_eq!(world.ask("admin", "POST /v1/devices/a%20b/credential", "").await.status, 400);
}
