//! The same fields for editors.
/// x
pub fn schema(_kind: Option<crate::model::Kind>) -> serde_json::Value {
    serde_json::Value::Null
}
