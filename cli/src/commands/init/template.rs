//! The templates of `dopq init`: which files, with which content. Pure.

use serde_json::json;

/// What the image is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Template {
    /// Python from python:3.12-slim
    Plain,
    /// `PyTorch` with CUDA from pytorch/pytorch
    Pytorch,
    /// Python and packages installed by uv
    Uv,
}

/// Programs that the image starts, the first found wins.
const SCRIPTS: [&str; 4] = ["main.py", "train.py", "run.py", "run.sh"];

/// The program of a folder that has none.
const STARTER: &str = "main.py";

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) name: &'static str,
    pub(super) text: String,
}

/// What the folder has already.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// The content of `requirements.txt`.
    pub(super) requirements: Option<String>,
    pub(super) pyproject: bool,
    pub(super) uv_lock: bool,
    pub(super) python_version: bool,
    /// The program to start.
    pub(super) script: Option<&'static str>,
}

impl Found {
    /// `read` gives the content of a file of the folder.
    pub(super) fn look(read: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            requirements: read("requirements.txt"),
            pyproject: read("pyproject.toml").is_some(),
            uv_lock: read("uv.lock").is_some(),
            python_version: read(".python-version").is_some(),
            script: SCRIPTS.into_iter().find(|name| read(name).is_some()),
        }
    }

    /// The template for what is there.
    pub(super) fn template(&self) -> Template {
        match &self.requirements {
            _ if self.pyproject => Template::Uv,
            Some(text) if needs_torch(text) => Template::Pytorch,
            Some(_) | None => Template::Plain,
        }
    }

    /// All that belongs to the image: the Dockerfile first, then what it needs and the folder lacks.
    pub(super) fn image(&self, template: Template, project: &str) -> Vec<Content> {
        let script = self.script.unwrap_or(STARTER);
        let install = match template {
            Template::Plain => self.pip("FROM python:3.12-slim"),
            Template::Pytorch => self.pip("FROM pytorch/pytorch:2.8.0-cuda12.8-cudnn9-runtime"),
            Template::Uv => self.uv(),
        };
        let start = if script == "run.sh" {
            r#"CMD ["sh", "run.sh"]"#.to_owned()
        } else {
            // -u: lines appear in the log when they are printed.
            format!(r#"CMD ["python", "-u", "{script}"]"#)
        };
        let mut files = vec![Content {
            name: "Dockerfile",
            text: format!("{install}\n{start}\n"),
        }];
        if template == Template::Uv && !self.pyproject && self.requirements.is_none() {
            files.push(Content {
                name: "pyproject.toml",
                text: format!(
                    "[project]\nname = \"{project}\"\nversion = \"0.1.0\"\n\
                     requires-python = \">=3.12\"\ndependencies = []\n"
                ),
            });
        }
        if self.script.is_none() {
            let text = if template == Template::Pytorch {
                include_str!("pytorch.py")
            } else {
                include_str!("plain.py")
            };
            files.push(Content {
                name: STARTER,
                text: text.to_owned(),
            });
        }
        files
    }

    /// What changes seldom comes first, so that a change of the program does not install everything again.
    fn pip(&self, from: &str) -> String {
        match (&self.requirements, self.pyproject) {
            (Some(_), _) => format!(
                "{from}\nWORKDIR /job\nCOPY requirements.txt .\n\
                 RUN pip install --no-cache-dir -r requirements.txt\nCOPY . ."
            ),
            (None, true) => {
                format!("{from}\nWORKDIR /job\nCOPY . .\nRUN pip install --no-cache-dir .")
            }
            (None, false) => format!("{from}\nWORKDIR /job\nCOPY . ."),
        }
    }

    fn uv(&self) -> String {
        let from = "FROM ghcr.io/astral-sh/uv:python3.12-bookworm-slim\n\
                    ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy PATH=/job/.venv/bin:$PATH\n\
                    WORKDIR /job";
        let cached = "RUN --mount=type=cache,target=/root/.cache/uv";
        if !self.pyproject && self.requirements.is_some() {
            return format!(
                "{from}\nCOPY requirements.txt .\n{cached} \\\n    uv venv && uv pip install -r requirements.txt\nCOPY . ."
            );
        }
        let mut project = "pyproject.toml".to_owned();
        for (there, name) in [
            (self.uv_lock, " uv.lock"),
            (self.python_version, " .python-version"),
        ] {
            if there {
                project += name;
            }
        }
        let locked = if self.uv_lock { " --locked" } else { "" };
        format!(
            "{from}\nCOPY {project} ./\n{cached} \\\n    uv sync --no-dev --no-install-project{locked}\n\
             COPY . .\n{cached} \\\n    uv sync --no-dev{locked}"
        )
    }
}

/// Whether a line of `requirements.txt` names `PyTorch` or one of its libraries.
fn needs_torch(requirements: &str) -> bool {
    requirements.lines().any(|line| {
        let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
        let name = end.map_or(line, |end| line.split_at(end).0);
        ["torch", "torchvision", "torchaudio"].contains(&name.to_ascii_lowercase().as_str())
    })
}

/// The configuration.
pub(super) fn config(name: &str, executor: &str, gpus: u32) -> Content {
    let fields = [
        ("name", json!(name)),
        ("executor_name", json!(executor)),
        ("num_gpus", json!(gpus)),
    ];
    let lines: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("  \"{name}\": {value}"))
        .collect();
    Content {
        name: "container_config.json",
        text: format!("{{\n{}\n}}\n", lines.join(",\n")),
    }
}

/// A job's name from a folder's: letters, digits, dots and dashes, at least three characters.
pub(super) fn job_name(folder: &str) -> String {
    let kept: String = folder
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(60)
        .collect();
    let name = kept.trim_matches('-').to_ascii_lowercase();
    match name.len() {
        0 => "my-job".to_owned(),
        1 | 2 => format!("job-{name}"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str], requirements: &str) -> Found {
        Found::look(|name| {
            let there = names.contains(&name);
            let text = if name == "requirements.txt" {
                requirements
            } else {
                ""
            };
            there.then(|| text.to_owned())
        })
    }

    #[test]
    fn the_template_follows_from_what_is_there() {
        let cases: [(&[&str], &str, Template); 6] = [
            (&[], "", Template::Plain),
            (&["requirements.txt"], "numpy\n# torch\n", Template::Plain),
            (&["requirements.txt"], "torchmetrics\n", Template::Plain),
            (
                &["requirements.txt"],
                "numpy\nTorch>=2.1\n",
                Template::Pytorch,
            ),
            (&["requirements.txt"], "torchvision", Template::Pytorch),
            (
                &["requirements.txt", "pyproject.toml"],
                "torch",
                Template::Uv,
            ),
        ];
        for (names, requirements, expected) in cases {
            assert_eq!(
                found(names, requirements).template(),
                expected,
                "{names:?} {requirements:?}"
            );
        }
    }

    #[test]
    fn the_image_installs_and_starts_what_is_there() {
        let image = |names: &[&str], template| found(names, "").image(template, "demo");
        let cases: [(&[&str], Template, &[&str], &str); 6] = [
            (
                &[],
                Template::Plain,
                &["Dockerfile", "main.py"],
                "COPY . .\nCMD",
            ),
            (
                &["requirements.txt", "train.py"],
                Template::Pytorch,
                &["Dockerfile"],
                "-r requirements.txt\nCOPY . .\nCMD [\"python\", \"-u\", \"train.py\"]",
            ),
            (
                &["run.sh"],
                Template::Plain,
                &["Dockerfile"],
                "CMD [\"sh\", \"run.sh\"]",
            ),
            (
                &["pyproject.toml", "main.py"],
                Template::Plain,
                &["Dockerfile"],
                "RUN pip install --no-cache-dir .",
            ),
            (
                &[],
                Template::Uv,
                &["Dockerfile", "pyproject.toml", "main.py"],
                "COPY pyproject.toml ./\n",
            ),
            (
                &["pyproject.toml", "uv.lock", ".python-version", "main.py"],
                Template::Uv,
                &["Dockerfile"],
                "COPY pyproject.toml uv.lock .python-version ./\n",
            ),
        ];
        for (names, template, files, part) in cases {
            let image = image(names, template);
            let written: Vec<_> = image.iter().map(|file| file.name).collect();
            assert_eq!(written, files, "{names:?}");
            assert!(image[0].text.contains(part), "{}", image[0].text);
        }
    }

    #[test]
    fn a_folder_gives_an_acceptable_name() {
        for (folder, name) in [
            ("train", "train"),
            ("My Project (2)", "my-project--2"),
            ("ü", "my-job"),
            ("x", "job-x"),
            ("", "my-job"),
        ] {
            assert_eq!(job_name(folder), name);
        }
        assert_eq!(job_name(&"long".repeat(99)).len(), 60);
    }
}
