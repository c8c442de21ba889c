//! Why the client cannot go on.

use std::fmt;

use socp_transport::client::StartError;
use socp_transport::data_dir::DataDirError;
use socp_transport::store::StoreError;

/// One line that says what is wrong, and where. Ends the program with status 1.
#[derive(Debug)]
pub(crate) struct Fatal(String);

impl Fatal {
    pub(crate) fn new(line: impl Into<String>) -> Self {
        Self(line.into())
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<DataDirError> for Fatal {
    fn from(error: DataDirError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<StoreError> for Fatal {
    fn from(error: StoreError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<StartError> for Fatal {
    fn from(error: StartError) -> Self {
        Self::new(error.to_string())
    }
}
