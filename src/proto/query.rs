//! Queries: the operands of `CPQ`.
//!
//! What this file does *not* do: answer them, or say which ones a host answers.

use super::line::word;

/// A query, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// The system level.
    CpLevel,
    /// An identifier of the machine.
    CpuId,
    /// The message of the day.
    LogMsg,
    /// The time of day.
    Time,
    /// The server's certificate.
    Certificate,
    /// The files of a user.
    Files,
    /// The load.
    Indicate,
    /// Who is logged on.
    Names,
    /// How many are logged on.
    Users,
    /// Whether this user is logged on (the name as sent, at most 255 bytes).
    User(String),
}

/// Longest operand of a query, in bytes.
pub(super) const OPERAND_MAX: usize = 255;

/// Why a query is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadQuery {
    /// No such query; the word as sent.
    Unknown(String),
    /// It needs an operand.
    MissingOperand,
}

/// Full spelling and shortest abbreviation, in the order in which they are tried.
const QUERIES: &[(&str, usize, Query)] = &[
    ("CPLEVEL", 3, Query::CpLevel),
    ("CPUID", 3, Query::CpuId),
    ("LOGMSG", 3, Query::LogMsg),
    ("TIME", 1, Query::Time),
    ("CERTIFICATE", 4, Query::Certificate),
    ("FILES", 1, Query::Files),
    ("INDICATE", 3, Query::Indicate),
    ("NAMES", 1, Query::Names),
    ("USERS", 5, Query::Users),
    ("USER", 1, Query::User(String::new())),
];

impl Query {
    /// The query in the operands of `CPQ`.
    ///
    /// # Errors
    /// When there is none, or half of one.
    pub fn parse(rest: &str) -> Result<Query, BadQuery> {
        let (asked, operand) = word(rest);
        let upper = asked.to_ascii_uppercase();
        let found = QUERIES
            .iter()
            .find(|(full, least, _)| upper.len() >= *least && full.starts_with(upper.as_str()));
        match found {
            None => Err(BadQuery::Unknown(asked.to_owned())),
            Some((_, _, Query::User(_))) => match word(operand).0 {
                "" => Err(BadQuery::MissingOperand),
                name if name.len() > OPERAND_MAX => Err(BadQuery::Unknown(asked.to_owned())),
                name => Ok(Query::User(name.to_owned())),
            },
            Some((_, _, query)) => Ok(query.clone()),
        }
    }

    /// The query of this full spelling; one that takes an operand comes without it.
    pub fn named(name: &str) -> Option<Query> {
        QUERIES
            .iter()
            .find(|(full, ..)| full.eq_ignore_ascii_case(name))
            .map(|(_, _, query)| query.clone())
    }

    /// The query as the operands of `CPQ`.
    pub fn operands(&self) -> String {
        match self {
            Query::User(name) => format!("{} {name}", self.name()),
            _ => self.name().to_owned(),
        }
    }

    /// The full spelling, as configuration and answers use it.
    pub fn name(&self) -> &'static str {
        match self {
            Query::CpLevel => "CPLEVEL",
            Query::CpuId => "CPUID",
            Query::LogMsg => "LOGMSG",
            Query::Time => "TIME",
            Query::Certificate => "CERTIFICATE",
            Query::Files => "FILES",
            Query::Indicate => "INDICATE",
            Query::Names => "NAMES",
            Query::Users => "USERS",
            Query::User(_) => "USER",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_abbreviated() {
        for (text, query) in [
            ("time ", Query::Time),
            ("T", Query::Time),
            ("CPL", Query::CpLevel),
            ("cpu", Query::CpuId),
            ("LOG", Query::LogMsg),
            ("CERT", Query::Certificate),
            ("F", Query::Files),
            ("IND", Query::Indicate),
            ("N", Query::Names),
            ("USERS", Query::Users),
            ("U root x", Query::User("root".into())),
        ] {
            assert_eq!(Query::parse(text), Ok(query.clone()), "{text}");
            assert_eq!(Query::parse(&query.operands()), Ok(query.clone()));
            assert_eq!(
                Query::parse(query.name()).is_ok(),
                !matches!(query, Query::User(_))
            );
        }
    }

    #[test]
    fn a_query_that_is_none_is_refused() {
        assert_eq!(Query::parse("USER"), Err(BadQuery::MissingOperand));
        for bad in ["BOGUS", "", "CP", "LO", "TIMES", "\u{0}"] {
            assert_eq!(Query::parse(bad), Err(BadQuery::Unknown(bad.into())), "{bad:?}");
        }
    }
}
