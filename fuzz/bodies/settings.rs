//! What must hold for any text given as configuration, and for any line on the local socket.
//!
//! Included by the fuzz targets and by a test. Whoever includes it has a `config` and a `local` beside it.

use super::{config::Config, local};

/// Any text is a configuration or an error of one line; a configuration reads back as itself.
pub(crate) fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Config::parse(text, "alpha.example") {
        Ok(config) => assert_eq!(
            Config::parse(&config.effective(), "other.example").as_ref(),
            Ok(&config)
        ),
        Err(err) => assert!(!err.to_string().is_empty()),
    }
}

/// Any line is a request or none; a request survives its text form, and so does an answer.
pub(crate) fn local_line(data: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<local::Request>(data) {
        let text = serde_json::to_vec(&request).expect("a request has a text form");
        assert!(!text.contains(&b'\n'));
        assert_eq!(
            serde_json::from_slice::<local::Request>(&text).ok(),
            Some(request)
        );
    }
    if let Ok(answer) = serde_json::from_slice::<local::Answer>(data) {
        let text = serde_json::to_vec(&answer).expect("an answer has a text form");
        assert!(!text.contains(&b'\n'));
        assert_eq!(serde_json::from_slice::<local::Answer>(&text).ok(), Some(answer));
    }
}
