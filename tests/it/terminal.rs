//! The command line at a real pseudo-terminal: what a person sees, and what their keys do.

mod interrupted;
mod narrow;
mod questions;
mod unread;

use std::{fs::File, io};

use pty_process::{Command, OwnedWritePty, Size};
use simulator::key_vault::Fault;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Child,
    sync::mpsc,
};

use crate::local_azure::{BINARY, LIMIT, LocalAzure, Settings};

/// Rows and columns of a terminal that is wide enough for everything.
const WIDE: (u16, u16) = (60, 160);

const CTRL_C: &str = "\x03";

/// The end of the input.
const CTRL_D: &str = "\x04";

/// Slow enough that a command is at work while a test looks at it.
const SLOW: (&str, &str) = ("BACKUP_REQUESTS_PER_SECOND", "10");

/// A command at a terminal, and what the terminal shows.
pub(crate) struct Terminal {
    pub(crate) screen: vt100::Parser,
    /// All that was ever written to it.
    written: Vec<u8>,
    output: mpsc::UnboundedReceiver<Vec<u8>>,
    keys: OwnedWritePty,
    child: Child,
}

/// What is left when the command has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    code: i32,
    /// What the screen shows, a line each; long lines are one line.
    screen: String,
    /// All that was ever written, escape codes included.
    pub(crate) written: String,
}

impl Terminal {
    /// Gives the command with these settings changed at a terminal of so many rows and columns.
    pub(crate) fn start(azure: &LocalAzure, changes: &[(&str, &str)], arguments: &[&str], size: (u16, u16)) -> Self {
        Self::start_with(azure, changes, arguments, size, None)
    }

    /// The same with the result in a file.
    fn start_with(
        azure: &LocalAzure,
        changes: &[(&str, &str)],
        arguments: &[&str],
        (rows, columns): (u16, u16),
        result: Option<File>,
    ) -> Self {
        let mut settings = azure.settings();
        settings.insert("TERM".to_owned(), "xterm-256color".to_owned());
        settings.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Self::of(BINARY, &settings, arguments, (rows, columns), result)
    }

    /// Starts any program, with nothing but these settings in its environment, and the result in a file where one is given.
    pub(crate) fn of(
        program: &str,
        settings: &Settings,
        arguments: &[&str],
        (rows, columns): (u16, u16),
        result: Option<File>,
    ) -> Self {
        let (pty, pts) = pty_process::open().unwrap();
        pty.resize(Size::new(rows, columns)).unwrap();
        let command = Command::new(program).args(arguments).env_clear().envs(settings).kill_on_drop(true);
        let command = match result {
            Some(result) => command.stdout(result),
            None => command,
        };
        let child = command.spawn(pts).unwrap_or_else(|error| {
            panic!("{program} is not started: {error}. scripts/tools.sh installs what the tests need.");
        });
        let (mut read, keys) = pty.into_split();
        let (send, output) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            // Little at once, so that no state of the screen is passed over.
            let mut bytes = vec![0; 64];
            // A terminal that nobody has open any more is at its end, which Linux calls an error.
            while let Ok(count @ 1..) = read.read(&mut bytes).await {
                let _ = send.send(bytes[..count].to_vec());
            }
        });
        let [rows, columns] = [rows, columns].map(|size| size.try_into().unwrap());
        Self { screen: vt100::Parser::new(rows, columns, 0), written: Vec::new(), output, keys, child }
    }

    fn shows(&self) -> String {
        self.screen.screen().contents()
    }

    /// Waits until the screen shows this.
    pub(crate) async fn wait_for(&mut self, text: &str) {
        self.wait_until(text, |shown| shown.contains(text)).await;
    }

    /// Waits until what the screen shows is like this.
    pub(crate) async fn wait_until(&mut self, what: &str, is_so: impl Fn(&str) -> bool) {
        let wait = async {
            while !is_so(&self.shows()) {
                assert!(self.read().await, "the command ended and never showed {what:?}:\n{}", self.told());
            }
        };
        if tokio::time::timeout(LIMIT, wait).await.is_err() {
            panic!("the screen never showed {what:?}:\n{}", self.told());
        }
    }

    /// Waits until so many are done, or more.
    pub(crate) async fn wait_for_done(&mut self, least: usize, total: usize) {
        let end = format!("/{total} ");
        let done = |shown: &str| -> Option<usize> {
            let (before, _) = shown.split_once(&end)?;
            before.rsplit(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
        };
        let wait = async {
            while done(&self.shows()).is_none_or(|done| done < least) {
                assert!(self.read().await, "{least} of {total} were never done:\n{}", self.told());
            }
        };
        tokio::time::timeout(LIMIT, wait).await.expect("it goes on");
    }

    pub(crate) async fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).await.unwrap();
    }

    /// Waits until the command has ended and everything it wrote was read.
    pub(crate) async fn end(mut self) -> Ended {
        let end = async {
            while self.read().await {}
            self.child.wait().await
        };
        let status: io::Result<_> = tokio::time::timeout(LIMIT, end).await.expect("the command ends");
        let code = status.unwrap().code().expect("an exit code");
        Ended { code, screen: self.shows(), written: self.told() }
    }

    pub(crate) async fn read(&mut self) -> bool {
        let Some(bytes) = self.output.recv().await else { return false };
        self.screen.process(&bytes);
        self.written.extend_from_slice(&bytes);
        true
    }

    fn told(&self) -> String {
        String::from_utf8_lossy(&self.written).into_owned()
    }
}

/// A vault with so many items.
async fn vault_of(items: usize) -> LocalAzure {
    let azure = LocalAzure::with(&["contoso-prod", "contoso-dr"]).await;
    azure.vaults.seed("contoso-prod", items);
    azure
}

#[tokio::test]
async fn the_progress_of_a_backup_is_shown_with_its_rates_and_gone_when_it_has_ended() {
    let azure = vault_of(20).await;
    let mut terminal = Terminal::start(&azure, &[SLOW], &["backup"], WIDE);
    for text in ["Backing up contoso-prod", "/20 ", " items/s, ", " requests/s", " left"] {
        terminal.wait_for(text).await;
    }
    let ended = terminal.end().await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.screen.contains("Succeeded"), "{}", ended.screen);
    for gone in ["Backing up", "items/s", "left"] {
        assert!(!ended.screen.contains(gone), "{gone} is left on the screen:\n{}", ended.screen);
    }
}

#[tokio::test]
async fn several_vaults_have_a_bar_each_at_the_same_time() {
    let azure = vault_of(15).await;
    azure.vaults.seed("contoso-dr", 15);
    let mut terminal = Terminal::start(&azure, &[SLOW], &["backup", "contoso-prod", "contoso-dr"], WIDE);
    let both = async {
        loop {
            let shown = terminal.shows();
            if shown.contains("Backing up contoso-prod") && shown.contains("Backing up contoso-dr") {
                break;
            }
            assert!(terminal.read().await, "never both:\n{}", terminal.told());
        }
    };
    tokio::time::timeout(LIMIT, both).await.expect("both are shown");
    let ended = terminal.end().await;
    assert_eq!((ended.code, ended.screen.contains("Backing up")), (0, false), "{ended:?}");
}

#[tokio::test]
async fn a_vault_that_asks_for_fewer_requests_is_shown_as_throttled() {
    let azure = vault_of(20).await;
    azure.vaults.add_fault(Fault::answer(429, "Throttled").skip(10).times(2));
    let mut terminal = Terminal::start(&azure, &[SLOW], &["backup"], WIDE);
    terminal.wait_for("requests/s, throttled").await;
    assert_eq!(terminal.end().await.code, 0);
}

#[tokio::test]
async fn what_takes_a_while_before_it_can_be_counted_is_named_too() {
    let azure = vault_of(5).await;
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    let slow = ("BACKUP_REQUESTS_PER_SECOND", "3");
    for (changes, arguments, text) in [
        (
            &[slow][..],
            &["restore", "contoso-prod", "--to", "contoso-dr", "--dry-run"][..],
            "Looking at vault contoso-dr",
        ),
        (&[slow], &["diff", "contoso-prod", "--live"], "Comparing backup "),
    ] {
        let mut terminal = Terminal::start(&azure, changes, arguments, WIDE);
        terminal.wait_for(text).await;
        let ended = terminal.end().await;
        assert!(ended.code == 0 && !ended.screen.contains(text), "{ended:?}");
    }
    // Too quick to be seen, but not to be drawn.
    let verify = Terminal::start(&azure, &[], &["verify"], WIDE).end().await;
    assert!(verify.written.contains("Verifying contoso-prod") && !verify.screen.contains("Verifying"), "{verify:?}");
}

#[tokio::test]
async fn quiet_shows_nothing_but_the_result() {
    let azure = vault_of(5).await;
    let ended = Terminal::start(&azure, &[SLOW], &["backup", "--quiet"], WIDE).end().await;
    assert_eq!(ended.code, 0);
    assert!(!ended.written.contains("Backing up") && ended.screen.contains("Succeeded"), "{ended:?}");
}

#[tokio::test]
async fn only_what_means_something_is_coloured_and_only_where_colours_are_wanted() {
    let azure = vault_of(3).await;
    assert_eq!(azure.run(&["backup"]).await.code, 0);
    let list = async |changes: &[(&str, &str)], arguments: &[&str]| {
        Terminal::start(&azure, changes, &[&["list"], arguments].concat(), WIDE).end().await.written
    };
    let coloured = list(&[], &[]).await;
    assert!(coloured.contains("\x1b[38;5;2mSucceeded\x1b["), "{coloured:?}");
    assert_eq!(coloured.matches("\x1b[38").count(), 1, "{coloured:?}");
    for off in [("NO_COLOR", "1"), ("CLICOLOR", "0"), ("TERM", "dumb")] {
        let plain = list(&[off], &[]).await;
        assert!(plain.contains("Succeeded") && !plain.contains("\x1b[38"), "{off:?}: {plain:?}");
    }
    let plain = list(&[], &["--color", "never"]).await;
    assert!(plain.contains("Succeeded") && !plain.contains("\x1b[38"), "{plain:?}");
    let wanted = list(&[("NO_COLOR", "1")], &["--color", "always"]).await;
    assert!(wanted.contains("\x1b[38;5;2mSucceeded"), "{wanted:?}");

    for (arguments, coloured) in [
        (&["backup", "--help"][..], true),
        (&["backup", "--help", "--color", "never"], false),
        (&["--color=never", "nonsense"], false),
        (&["nonsense"], true),
    ] {
        let help = Terminal::start(&azure, &[], arguments, WIDE).end().await.written;
        assert_eq!(help.contains("\x1b["), coloured, "{arguments:?}: {help:?}");
    }
    let dumb = Terminal::start(&azure, &[("TERM", "dumb")], &["backup"], WIDE).end().await;
    assert!(dumb.code == 0 && !dumb.written.contains('\x1b'), "a dumb terminal gets no bar: {dumb:?}");
}
