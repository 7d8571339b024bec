//! Sub-queries of clients whose answer is known and that have no plan in DataFusion: a series whose bounds are
//! expressions, an array of a query. The answer is put in their place.

use std::{borrow::Cow, sync::LazyLock};

use datafusion::sql::sqlparser::{
    dialect::PostgreSqlDialect,
    tokenizer::{Token, Tokenizer},
};

/// What is asked, and the answer. How it is laid out does not matter.
const KNOWN: [(&str, &str); 5] = [
    // Grafana's query builder takes the search path apart (`postgresMetaQuery.ts`).
    (
        r#"SELECT CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END FROM
           generate_series(array_lower(string_to_array(current_setting('search_path'),','),1),
                           array_upper(string_to_array(current_setting('search_path'),','),1)) as i,
           string_to_array(current_setting('search_path'),',') s"#,
        "'public'",
    ),
    // psql's \du: the roles that a role belongs to.
    (
        "ARRAY(SELECT b.rolname FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles b ON (m.roleid = b.oid)
               WHERE m.member = r.oid)",
        "'{}'",
    ),
    // psql's \d+: options of the table's storage.
    (
        "pg_catalog.array_to_string(c.reloptions || array(select 'toast.' || x from pg_catalog.unnest(tc.reloptions) x), ', ')",
        "''",
    ),
    // psql's \df+ and \dn+: privileges.
    (r"pg_catalog.array_to_string(p.proacl, E'\n')", "''"),
    (r"pg_catalog.array_to_string(n.nspacl, E'\n')", "''"),
];

static TOKENS: LazyLock<Vec<(Vec<Token>, Vec<Token>)>> = LazyLock::new(|| {
    let solid = |sql| tokens(sql).into_iter().filter(|token| !blank(token)).collect();
    KNOWN.iter().map(|(asked, answer)| (solid(asked), tokens(answer))).collect()
});

/// As written: a quote inside a text stays doubled, so that tokens print as the text they came from.
fn tokens(sql: &str) -> Vec<Token> {
    Tokenizer::new(&PostgreSqlDialect {}, sql).with_unescape(false).tokenize().unwrap_or_default()
}

fn blank(token: &Token) -> bool {
    matches!(token, Token::Whitespace(_))
}

/// The statement with known answers in place of their questions; as it was where it has none of them.
pub(super) fn answered(sql: &str) -> Cow<'_, str> {
    // Words that every question has: others are not taken apart.
    if !["search_path", "pg_auth_members", "reloptions", "acl"].iter().any(|word| sql.contains(word)) {
        return Cow::Borrowed(sql);
    }
    let mut told = tokens(sql);
    let mut changed = false;
    while let Some((first, last, answer)) = found(&told) {
        told.splice(first..=last, answer.iter().cloned());
        changed = true;
    }
    if changed { Cow::Owned(told.iter().map(ToString::to_string).collect()) } else { Cow::Borrowed(sql) }
}

fn found(told: &[Token]) -> Option<(usize, usize, &'static [Token])> {
    let solid: Vec<usize> = (0..told.len()).filter(|at| !blank(&told[*at])).collect();
    TOKENS.iter().find_map(|(asked, answer)| {
        let same = |window: &&[usize]| window.iter().zip(asked).all(|(at, token)| told[*at] == *token);
        let window = solid.windows(asked.len()).find(same)?;
        Some((*window.first()?, *window.last()?, answer.as_slice()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_question_is_answered_however_it_is_laid_out() {
        let (asked, answer) = KNOWN[0];
        let spread = asked.replace('(', "( ").replace(" as i,", "\n as i ,");
        for asked in [asked, &spread] {
            let sql = format!("select a in ({asked}) , b in (\n{asked}) from t where c = 'it''s'");
            let expected = format!("select a in ({answer}) , b in (\n{answer}) from t where c = 'it''s'");
            assert_eq!(answered(&sql), expected);
        }
        for (asked, answer) in KNOWN {
            assert_eq!(answered(&format!("select {asked} as x")), format!("select {answer} as x"));
        }
        let other = "select current_setting('search_path')";
        assert!(matches!(answered(other), Cow::Borrowed(same) if same == other));
    }
}
