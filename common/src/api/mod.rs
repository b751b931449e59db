//! The control API's JSON, under `/v1`. `docs/API.md` documents it for people.
//!
//! Times are RFC 3339 in UTC, sizes bytes, durations seconds, ratios 0 to 1. Fields are only ever
//! added; a reader ignores those it does not know. The CLI's `--output json` prints these same types.

mod audit;
mod doctor;
mod error;
mod gpu;
mod group;
mod job;
mod node_key;
mod request;
mod session;
mod system;
mod token;
mod usage;
mod used;

pub use audit::{AuditLine, AuditPage};
pub use doctor::{DeadLetters, Doctor, NodeHealth};
pub use error::{ErrorBody, ErrorCode, ErrorResponse, Fault};
pub use gpu::{Gpu, GpuHolder, GpuList, GpuNow, JobNow};
pub use group::{Group, GroupList};
pub use job::{
    Array, Attempt, Checkpoint, ExpectedStart, Explanation, HistoryPage, Job, JobPage, LeftOut,
    Outcome, PriorityRequest, Queue, QueueEntry, REASON_WIDTH, Requested, Results, RetryRequest,
    Task, TimelineEntry,
};
pub use node_key::{BrokerRights, NewNodeKey, NodeKey, NodeKeyCreated, NodeKeyList, NodeRemoved};
pub use request::{
    Bundle, CancelRequest, CordonRequest, DrainRequest, LockRequest, LogEnd, LogEvent, Login,
    NewPassword, NewRole, NewToken, NewUser, PruneRequest, Reloaded, SettingChange, ShutdownMode,
    ShutdownRequest, ShuttingDown, SubmitRequest, TokenCreated,
};
pub use session::{ExecRequest, SessionEvent, SessionInput};
pub use system::{
    Component, Limits, Node, NodeDrain, NodeGpu, NodeGpuHolder, NodeList, Pruned, PrunedKind, Role,
    Status, User, UserList, Volume, WhoAmI,
};
pub use token::{Token, TokenList};
pub use usage::{GroupTurn, Turn, Usage, UsageLine, UsageSum};
pub use used::{MeanPeak, Used, UsedSeries};

/// The version of the JSON, in every list's `version` field.
pub const API_VERSION: u32 = 1;
