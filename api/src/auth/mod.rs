//! Who calls, and whether they may.
//!
//! In: `Authorization: Bearer fw_…`. Out: a [`Caller`] for the handlers. Promise: deny by default; a route that is not
//! in [`roles::ROUTES`] answers nobody, and roles are checked before a body is read. Never: a secret kept or logged.

mod layer;
pub mod roles;

use std::{fmt, str::FromStr, sync::Arc};

use axum::{extract::FromRequestParts, http::request::Parts};
use schemas::id::TenantId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::Problem;

pub(crate) use layer::authenticate;

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Serves customers: tickets, appointments, events.
    Agent,
    /// Asks: SQL, and reads devices, alarms and tickets.
    Analyst,
    /// Everything, and tokens and credentials.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Agent, Self::Analyst, Self::Admin];

    /// The word in columns and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Analyst => "analyst",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("role {0:?} is not legal: agent, analyst or admin")]
pub struct RoleError(String);

impl FromStr for Role {
    type Err = RoleError;
    fn from_str(text: &str) -> Result<Self, RoleError> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| RoleError(text.chars().take(60).collect()))
    }
}

/// Whoever holds the token of this request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose rows the caller sees.
    pub tenant: TenantId,
    /// The token's name; stands in histories as the actor.
    pub name: String,
    /// What the caller may do.
    pub role: Role,
    /// Which token.
    pub token_id: String,
}

impl Caller {
    /// 403 unless the caller has one of these roles.
    pub fn require(&self, roles: &[Role]) -> Result<(), Problem> {
        if roles.contains(&self.role) {
            return Ok(());
        }
        let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
        Err(Problem::forbidden(format!("the token's role is {}; this needs {}", self.role, roles.join(" or "))))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Arc<Caller>>().ok_or_else(|| Problem::unauthorized("no token"))?;
        Ok(caller.as_ref().clone())
    }
}
