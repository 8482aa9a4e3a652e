//! Owns the first start: one key for a car and one for its operator, and the lines that put them
//! where they belong.

use std::io::Write;

use p2p_shared::key::Key;

use crate::keystore::{FirstKeys, KeyStore};

/// Makes the first keys if there is none, and prints what to paste on the car and at the desk.
///
/// # Errors
/// If the keys can't be kept.
pub fn offer(keys: &KeyStore, main_port: u16) -> anyhow::Result<()> {
    if let Some(first) = keys.create_first_keys()? {
        // Standard output, once, and no log: logs are kept.
        let mut out = std::io::stdout().lock();
        out.write_all(text(&first, main_port).as_bytes())?;
        out.flush()?;
    }
    Ok(())
}

fn text(first: &FirstKeys, main_port: u16) -> String {
    let keep = |key: &Key| {
        format!(
            "(umask 077; mkdir -p ~/.config/p2prouter; echo {} > ~/.config/p2prouter/key)",
            key.expose()
        )
    };
    format!(
        "\nThis router had no keys yet. Here are two; they are not shown again.\n\
         (ROUTER stands for this host's name or address. `p2p-router key add` makes more.)\n\n\
         On the car, paste:\n\n  {car} && p2p-inner ROUTER {main_port} 9000\n\n\
         At the desk, paste:\n\n  {operator}\n\n\
         and then run a command of the car:\n\n  \
         curl -H \"Authorization: Bearer $(cat ~/.config/p2prouter/key)\" 'http://ROUTER:9000/cgi?command=hello'\n\n",
        car = keep(&first.car),
        operator = keep(&first.operator),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_start_prints_each_key_once_and_the_second_none() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyStore::open(folder.path()).unwrap();
        let first = keys.create_first_keys().unwrap().unwrap();
        let text = text(&first, 8888);
        for key in [&first.car, &first.operator] {
            assert_eq!(text.matches(&key.expose()).count(), 1);
        }
        assert!(text.contains("p2p-inner ROUTER 8888 9000"));
        assert!(keys.create_first_keys().unwrap().is_none());
    }
}
