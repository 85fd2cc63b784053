//! `docs/openapi.json`, and whether an answer is what it says.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

/// The document.
pub(super) struct Documented(Value);

impl Documented {
    pub(super) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let text = std::fs::read_to_string(root.join("docs/openapi.json")).unwrap();
        Self(serde_json::from_str(&text).unwrap())
    }

    /// All paths.
    pub(super) fn paths(&self) -> Vec<String> {
        self.0["paths"].as_object().unwrap().keys().cloned().collect()
    }

    /// The statuses that a path can be answered with.
    pub(super) fn statuses(&self, path: &str) -> BTreeSet<String> {
        let responses = &self.0["paths"][path]["get"]["responses"];
        responses.as_object().unwrap().keys().cloned().collect()
    }

    /// The parameters of a path.
    pub(super) fn parameters(&self, path: &str) -> Vec<String> {
        let parameters = self.0["paths"][path]["get"]["parameters"].as_array();
        let names = parameters.into_iter().flatten().map(|one| one["name"].as_str().unwrap());
        names.map(str::to_owned).collect()
    }

    /// What is wrong with an answer to `path`; nothing, if it is as documented. Each field that
    /// has a value is added to `seen`.
    pub(super) fn faults(
        &self,
        path: &str,
        status: u16,
        answer: &Value,
        seen: &mut BTreeSet<String>,
    ) -> Vec<String> {
        let response = &self.0["paths"][path]["get"]["responses"][status.to_string()];
        let schema = &response["content"]["application/json"]["schema"];
        if schema.is_null() {
            return vec![format!("{path}: status {status} is not documented")];
        }
        let mut faults = Vec::new();
        self.check(path, schema, answer, seen, &mut faults);
        faults
    }

    /// All documented fields, as `Type.field`.
    pub(super) fn fields(&self) -> BTreeSet<String> {
        let schemas = self.0["components"]["schemas"].as_object().unwrap();
        let of_type = |(name, schema): (&String, &Value)| {
            let fields = schema["properties"].as_object().into_iter().flatten();
            fields.map(|(field, _)| format!("{name}.{field}")).collect::<Vec<_>>()
        };
        schemas.iter().flat_map(of_type).collect()
    }

    fn check(
        &self,
        at: &str,
        schema: &Value,
        value: &Value,
        seen: &mut BTreeSet<String>,
        faults: &mut Vec<String>,
    ) {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap();
            let schema = &self.0["components"]["schemas"][name];
            assert!(schema.is_object(), "{name} is not documented");
            return self.check(name, schema, value, seen, faults);
        }
        if let Some(ways) = schema["oneOf"].as_array() {
            let way = ways.iter().find(|way| (way["type"] == "null") == value.is_null()).unwrap();
            return self.check(at, way, value, seen, faults);
        }
        let is_of = |kind: &str| match kind {
            "null" => value.is_null(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_u64() || value.is_i64(),
            "number" => value.is_number(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("{at}: {other} is no type"),
        };
        let kinds = match &schema["type"] {
            Value::String(kind) => vec![kind.as_str()],
            Value::Array(kinds) => kinds.iter().map(|kind| kind.as_str().unwrap()).collect(),
            other => panic!("{at}: {other} is no type"),
        };
        if !kinds.iter().any(|kind| is_of(kind)) {
            return faults.push(format!("{at}: {value} is none of {kinds:?}"));
        }
        if let (Some(words), Some(word)) = (schema["enum"].as_array(), value.as_str())
            && !words.iter().any(|one| one == word)
        {
            faults.push(format!("{at}: {word} is none of {words:?}"));
        }
        if schema["minimum"] == 0 && value.as_f64().is_some_and(|number| number < 0.0) {
            faults.push(format!("{at}: {value} is negative"));
        }
        for item in value.as_array().into_iter().flatten() {
            self.check(at, &schema["items"], item, seen, faults);
        }
        let Some(fields) = value.as_object() else { return };
        let Some(properties) = schema["properties"].as_object() else {
            let of_each = &schema["additionalProperties"];
            return fields.values().for_each(|one| self.check(at, of_each, one, seen, faults));
        };
        for required in schema["required"].as_array().unwrap() {
            if !fields.contains_key(required.as_str().unwrap()) {
                faults.push(format!("{at}.{required} is documented, and not answered"));
            }
        }
        for (field, value) in fields {
            let name = format!("{at}.{field}");
            match properties.get(field) {
                None => faults.push(format!("{name} is answered, and not documented")),
                Some(schema) => {
                    if !value.is_null() {
                        seen.insert(name.clone());
                    }
                    self.check(&name, schema, value, seen, faults);
                }
            }
        }
    }
}
