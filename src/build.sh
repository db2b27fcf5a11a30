#!/usr/bin/env bash
# Builds what Lambda gets into the folder given. Called by Makefile, which sets UV, LAMBDA_PLATFORM and LAMBDA_PYTHON.
# The same sources give the same bytes, so that SAM uploads a package only when it changed.
set -euo pipefail

package=$1
# `make build` names the file that it checked.
webhooks_toml=${WEBHOOKS_TOML:-webhooks.toml}
services="cloudwatch dynamodb secretsmanager sqs"
# An interpreter is looked for, never fetched.
export UV_PYTHON_DOWNLOADS=never

# Whether webhooks.toml uses a provider whose module checks certificates or decrypts. A word in a value is enough: too
# much in the package does no harm.
needs_certificates() {
    local module used
    used=$(grep -vE '^[[:space:]]*#' "$webhooks_toml" || true)
    while read -r module; do
        if grep -qw "$(basename "$module" .py)" <<<"$used"; then
            return 0
        fi
    done < <(grep -lE 'linkrunner_webhooks\.(signatures\.(certificates|encrypted_hash|jws|pubsub)|service_accounts)' linkrunner_webhooks/providers/*.py)
    return 1
}

install_dependencies() {
    command -v "$UV" >/dev/null || { echo "uv is needed to build; 'make build' in the project's root brings its own." >&2; exit 1; }
    local requirements=(--requirements requirements.txt)
    if needs_certificates; then
        requirements+=(--requirements requirements-certificates.txt)
    fi
    # The index, whatever it is, cannot slip anything in: hashes are pinned, and no package's own build code runs.
    "$UV" pip install --quiet --require-hashes --no-deps --no-build --link-mode copy \
        "${requirements[@]}" \
        --target "$package" --python-platform "$LAMBDA_PLATFORM" --python-version "$LAMBDA_PYTHON" --no-installer-metadata
    # For scanners and the bill of materials, because the packages' own metadata goes.
    "$UV" pip freeze --quiet --target "$package" >"$package/requirements.txt"
}

# Cold starts pay for every file in the package. Nothing removed here is read at run time: the SDK's models of other
# services, Powertools' other utilities, pydantic's older self, type stubs, and package metadata (pydantic looks for
# plugins in it, and there are none).
drop_unused() {
    local model keep
    for model in "$package"/botocore/data/*/; do
        keep=$(basename "$model")
        [[ " $services " == *" $keep "* ]] || rm -rf "$model"
    done
    rm -rf "$package"/bin "$package"/*.dist-info "$package"/.lock "$package"/pydantic/v1
    rm -rf "$package"/aws_lambda_powertools/event_handler
    find "$package"/aws_lambda_powertools/utilities -mindepth 1 -maxdepth 1 -type d ! -name jmespath_utils -exec rm -rf {} +
    find "$package" -type d -name __pycache__ -prune -exec rm -rf {} +
    find "$package" -type f -name '*.pyi' -delete
}

candidates() {
    type -aP "python$LAMBDA_PYTHON" || true
    printf '%s\n' "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/$LAMBDA_PYTHON".*/bin/python
    "$UV" python find --quiet --system "$LAMBDA_PYTHON" 2>/dev/null || true
}

# Compiled files only serve the minor version that wrote them. Each candidate is run, because a version manager's shim
# exists on PATH whether or not there is an interpreter behind it.
find_interpreter() {
    local candidate
    while read -r candidate; do
        if "$candidate" -Ic "import sys; sys.exit(sys.implementation.cache_tag != 'cpython-${LAMBDA_PYTHON/./}')" 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done < <(candidates)
}

# Lambda's folder is read-only, so it cannot cache compiled files itself, and zipping changes file times, which would
# invalidate ordinary ones. Uncompiled, a cold start takes more than twice as long.
compile() {
    local interpreter
    interpreter=$(find_interpreter)
    if [[ -z $interpreter ]]; then
        # To stdout, which SAM passes on to its own stderr: what a build that succeeds says on stderr, SAM drops.
        echo "WARNING: no Python $LAMBDA_PYTHON found, so the package is not compiled and cold starts take more than twice as long."
        echo "WARNING: install Python $LAMBDA_PYTHON (on PATH, with pyenv or with uv) and build again."
        return
    fi
    local folders=(-s "$package" -p /var/task)
    "$interpreter" -I -m compileall -q --invalidation-mode unchecked-hash "${folders[@]}" "$package/linkrunner_webhooks"
    # Of dependencies only what runs: their sources would be a third of the package. Ours stay, for tracebacks.
    "$interpreter" -I -m compileall -q -b --invalidation-mode unchecked-hash "${folders[@]}" -x linkrunner_webhooks "$package"
    find "$package" -name '*.py' -not -path "$package/linkrunner_webhooks/*" -delete
}

if [[ ! -f $webhooks_toml ]]; then
    echo "WEBHOOKS_TOML names no file: $webhooks_toml" >&2
    exit 1
fi
install_dependencies
cp -R linkrunner_webhooks "$package"
cp "$webhooks_toml" "$package/webhooks.toml"
drop_unused
compile
# Lambda reads the files as another user; a strict umask here must not lock it out.
chmod -R a+rX "$package"
