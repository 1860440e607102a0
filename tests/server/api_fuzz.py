"""schemathesis over /openapi.json (tests/server/requirements-campaign.txt): no answer that the
interface does not describe, no 5xx but 501, every error in the one shape."""

import argparse
import pathlib
import subprocess
import sys

from upg_server import UpgServer

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=100, help="a route")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    server = UpgServer("--parallel", 8, "--ctx-size", 64)  # so that every answer is short
    command = [str(pathlib.Path(sys.executable).parent / "schemathesis"), "run", server.url + "/openapi.json",
               "--checks", CHECKS, "--max-examples", str(options.examples), "--seed", str(options.seed),
               "--phases", "examples,coverage,fuzzing", "--mode", "all", "--request-timeout", "30"]
    status = subprocess.run(command).returncode
    alive = server.get("/health").status == 200
    server.wait_until_idle(30)
    came = server.metric("upg:requests_total")
    done = server.metric("upg:request_success_total") + server.metric("upg:request_failure_total")
    print(f"requests to models: {came:.0f}, ended: {done:.0f}")
    return 0 if status == 0 and alive and came == done and server.stop() == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
