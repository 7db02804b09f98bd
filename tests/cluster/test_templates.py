"""Cluster files: what they promise, and what `pcdarts cluster init` makes of them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from cluster.authentication import private_token
from cluster.templates import FOLDER, TEMPLATES, Edit, check, edits, fill, next_steps, template
from orchestrator.cli import main

VERSIONS = dict(
    line.split("==") for line in (FOLDER.parent / "constraints.txt").read_text().splitlines() if "==" in line
)
RAY_LAUNCHER = ("aws", "gcp", "onprem")
CLOUDS = ("aws", "gcp")


def given(kind):
    """A value for everything that must be given."""
    return {edit.name: f"some-{edit.name}" for edit in edits(kind) if edit.required}


def filled(kind, **values):
    return yaml.safe_load(fill(kind, given(kind) | values))


@pytest.mark.parametrize("kind", TEMPLATES)
def test_a_filled_template_is_accepted_and_has_nothing_left_to_edit(kind):
    text = fill(kind, given(kind))
    check(kind, text)
    assert not [line for line in text.splitlines() if "EDIT" in line and not line.lstrip().startswith("#")]


def forbid_unknown(schema):
    """Let an OpenAPI schema refuse fields that it does not name; numbers with units may be text."""
    if isinstance(schema, dict):
        if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        if schema.get("x-kubernetes-int-or-string"):
            schema.pop("type", None)
    for value in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        forbid_unknown(value)


def test_the_kubernetes_file_keeps_the_published_schema(pytestconfig):
    folder = pytestconfig.getoption("kuberay")
    if not folder:
        pytest.skip("needs --kuberay DIR, a checkout of KubeRay")
    published = yaml.safe_load(Path(folder, "ray-operator/config/crd/bases/ray.io_rayjobs.yaml").read_text())
    (schema,) = [v["schema"]["openAPIV3Schema"] for v in published["spec"]["versions"] if v["name"] == "v1"]
    schema["properties"]["metadata"] = {"type": "object"}
    forbid_unknown(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(filled("kuberay"))
    wrong = filled("kuberay")
    wrong["spec"]["rayClusterSpec"]["authOption"] = wrong["spec"]["rayClusterSpec"].pop("authOptions")
    assert not validator.is_valid(wrong)


@pytest.mark.parametrize("kind", TEMPLATES)
def test_every_edit_is_named_once_and_ends_in_the_file(kind):
    names = [edit.name for edit in edits(kind)]
    assert len(set(names)) == len(names) and "storage" in names
    for name in names:
        assert "other-value" in fill(kind, given(kind) | {name: "other-value"})


@pytest.mark.parametrize("kind", TEMPLATES)
def test_defaults_change_nothing(kind):
    defaults = {edit.name: edit.default for edit in edits(kind) if not edit.required}
    assert fill(kind, given(kind) | defaults) == fill(kind, given(kind))


@pytest.mark.parametrize("kind", TEMPLATES)
def test_the_next_steps_are_commands_of_the_file(kind):
    steps = next_steps(kind)
    assert steps and all(step in template(kind) for step in steps)
    assert any(("cluster.yaml" in step) or ("slurm.sh" in step) for step in steps)


def test_lists_anchors_and_shell_values_are_filled():
    config = filled("onprem", head="10.1.1.1", workers="10.1.1.2,10.1.1.3", storage="/data/my-studies")
    assert config["provider"] == {"type": "local", "head_ip": "10.1.1.1", "worker_ips": ["10.1.1.2", "10.1.1.3"]}
    assert "echo 'export PCDARTS_STORAGE=/data/my-studies' >> ~/.pcdarts" in config["setup_commands"]
    types = filled("aws", image="ami-1", workers="3")["available_node_types"]
    assert {node["node_config"]["ImageId"] for node in types.values()} == {"ami-1"}
    assert types["gpu_worker"]["max_workers"] == 3
    assert "\n#SBATCH --nodes=7\n" in fill("slurm", given("slurm") | {"nodes": "7"})


def test_values_that_a_shell_or_yaml_would_read_otherwise_are_refused():
    for value in ("s3://b; rm -rf x", "a'b", "$(id)", "a\nb", "{}", "a#b", "x`y`"):
        with pytest.raises(ValueError, match="must be letters"):
            fill("aws", given("aws") | {"storage": value})
    with pytest.raises(ValueError, match="must not have spaces"):
        fill("aws", given("aws") | {"storage": "s3://b c"})
    with pytest.raises(ValueError, match="aws has no value 'zone', but workers, region, "):
        fill("aws", given("aws") | {"zone": "a"})
    with pytest.raises(ValueError, match="onprem has no default for --head, --workers, --user"):
        fill("onprem", {})


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("aws", ("cluster_name:", "name_of_cluster:"), "Ray refuses the cluster file"),
        ("aws", ("head_node_type: head", "head_node_type: foot"), "head_node_type"),
        ("onprem", ("provider:", "provider: ["), "the onprem file is broken"),
        ("kuberay", ("mode: token", "mode: disabled"), "authOptions.mode must be token"),
        ("kuberay", ("ray.io/v1", "ray.io/v1alpha1"), "must be a ray.io/v1 RayJob"),
        ("kuberay", ("minReplicas: 0", "minReplicas: 9"), "group gpu wants 9 to 8 workers"),
        ("slurm", ("$(scontrol", "$((scontrol"), "bash cannot read the file"),
        ("skypilot", ("num_nodes", "nodes"), "a SkyPilot task has no nodes"),
        ("skypilot", ("  fi\n", "\n"), "bash cannot read the file"),
    ],
)
def test_a_broken_file_is_refused(kind, change, message):
    text = fill(kind, given(kind))
    assert change[0] in text
    with pytest.raises(ValueError, match=message):
        check(kind, text.replace(*change))


@pytest.mark.parametrize("kind", RAY_LAUNCHER)
def test_the_dashboard_listens_on_loopback_and_the_token_is_demanded(kind):
    config = filled(kind)
    (start,) = (command for command in config["head_start_ray_commands"] if "ray start" in command)
    assert "--dashboard-host=127.0.0.1" in start
    assert config["file_mounts"] == {"~/pcdarts-orchestrator": ".", "~/.ray/auth_token": "~/.ray/auth_token"}
    assert any("RAY_AUTH_MODE=token" in command for command in config["setup_commands"])
    assert any("RAY_enable_metrics_collection=0" in command for command in config["setup_commands"])


@pytest.mark.parametrize("kind", RAY_LAUNCHER)
def test_the_environment_has_the_tested_versions_and_is_the_one_that_run_py_looks_for(kind):
    install = filled(kind)["setup_commands"][1]
    assert install.startswith("~/pcdarts-env/bin/pip install")
    assert "-c ~/pcdarts-orchestrator/constraints.txt" in install and install.endswith("-e ~/pcdarts-orchestrator")


@pytest.mark.parametrize("kind", CLOUDS)
def test_in_clouds_spot_workers_scale_from_none_and_the_head_is_on_demand(kind):
    types = filled(kind)["available_node_types"]
    head, worker = types["head"], types["gpu_worker"]
    assert worker["min_workers"] == 0 and head["resources"] == {"CPU": 0}
    spot = {"aws": {"InstanceMarketOptions": {"MarketType": "spot"}}, "gcp": {"scheduling": None}}[kind]
    assert set(spot) <= set(worker["node_config"]) and not set(spot) & set(head["node_config"])


def test_on_ec2_the_security_group_is_given_since_ray_would_open_ssh_to_the_world():
    types = filled("aws")["available_node_types"]
    assert {tuple(node["node_config"]["SecurityGroupIds"]) for node in types.values()} == {("some-security-group",)}


def test_on_ec2_ray_finds_the_rest_and_opens_nothing(tmp_path, monkeypatch):
    """Against moto's imitation of EC2: what Ray adds to the file before it starts machines."""
    boto3, moto = pytest.importorskip("boto3"), pytest.importorskip("moto")
    from ray.autoscaler._private.commands import _bootstrap_config

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray writes an ssh key there
    (tmp_path / ".ssh").mkdir()
    with moto.mock_aws():
        ec2, iam = (boto3.client(service, region_name="us-west-2") for service in ("ec2", "iam"))
        network = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        group = ec2.create_security_group(GroupName="pcdarts", Description="closed", VpcId=network)["GroupId"]
        iam.create_instance_profile(InstanceProfileName="pcdarts")
        image = ec2.describe_images()["Images"][0]["ImageId"]
        values = {"image": image, "security-group": group, "profile": "pcdarts"}
        config = _bootstrap_config(filled("aws", **values), no_config_cache=True)
        (after,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
        groups = {found["GroupName"] for found in ec2.describe_security_groups()["SecurityGroups"]}
    head, worker = (config["available_node_types"][name] for name in ("head", "gpu_worker"))
    assert worker["resources"]["GPU"] == 1 and head["resources"] == {"CPU": 0}
    assert after["IpPermissions"] == [] and groups == {"default", "pcdarts"}
    assert worker["node_config"]["SecurityGroupIds"] == [group] and worker["node_config"]["SubnetIds"]


def test_kubernetes_serves_within_the_cluster_alone_and_runs_the_tested_ray():
    cluster = filled("kuberay")["spec"]["rayClusterSpec"]
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP" and cluster["enableInTreeAutoscaling"]
    assert cluster["rayVersion"] == VERSIONS["ray"]
    assert f"FROM rayproject/ray:{VERSIONS['ray']}-" in (FOLDER / "Dockerfile").read_text()
    (group,) = cluster["workerGroupSpecs"]
    assert group["minReplicas"] == group["replicas"] == 0
    (worker,) = group["template"]["spec"]["containers"]
    (head,) = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    assert worker["env"] == head["env"] and worker["resources"]["limits"]["nvidia.com/gpu"] == "1"
    spot, demand = (
        spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        for spec in (group["template"]["spec"], cluster["headGroupSpec"]["template"]["spec"])
    )
    assert (
        spot[0]["matchExpressions"][0]["operator"] == "In" and demand[0]["matchExpressions"][0]["operator"] == "NotIn"
    )


def test_shellcheck_has_nothing_to_say():
    shellcheck = shutil.which("shellcheck")
    if not shellcheck and os.environ.get("PCDARTS_CI"):
        pytest.fail("continuous integration must check slurm.sh with shellcheck")
    if not shellcheck:
        pytest.skip("shellcheck is missing: apt-get install shellcheck")
    run = "#!/bin/bash\n" + filled("skypilot")["run"]
    for text, excluded in ((fill("slurm", given("slurm")), ""), (run, "SC2086")):  # STUDY is several words
        done = subprocess.run(
            [shellcheck, "-s", "bash", *(["-e", excluded] if excluded else []), "-"],
            input=text,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout


def stubs(folder, **commands):
    """Programs that say what they were told."""
    folder.mkdir(parents=True)
    for name, text in commands.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)


def run_slurm(tmp_path, ray_start):
    """Run slurm.sh on the first of two nodes with stand-ins for its programs: exit code, and what these were told."""
    stubs(
        tmp_path / ".venv" / "bin",
        scontrol='printf "node1\\nnode2\\n"',
        srun='while [ "${1#--}" != "$1" ]; do shift; done; SLURM_NODEID=0 exec "$@"',
        ray='if [ "$1" = status ]; then [ ! -e ~/started ] || printf " 1 node_a\\n 1 node_b\\n"; exit; fi\n'
        f'printf "%s|" ray "$RAY_AUTH_MODE" "$@" >> ~/said; {ray_start}',
        pcdarts='printf "%s|" pcdarts "$PCDARTS_STORAGE" "$@" >> ~/said; exit 3',
    )
    script = tmp_path / "slurm.sh"
    script.write_text(fill("slurm", given("slurm") | {"project": str(tmp_path), "storage": "/s"}))
    job = {
        "HOME": str(tmp_path),
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_JOB_ID": "30007",
        "SLURM_NNODES": "2",
        "SLURM_CPUS_PER_TASK": "16",
        "SLURM_GPUS_ON_NODE": "4",
    }
    with (tmp_path / "log").open("w") as log:  # not a pipe, which Ray's stand-in would keep open
        command = ["bash", str(script), "smoke", "--study", "two  words"]
        code = subprocess.run(command, env=os.environ | job, stdout=log, stderr=log).returncode
    return code, (tmp_path / "said").read_text(), (tmp_path / "log").read_text()


def test_slurm_starts_ray_with_what_the_job_has_and_keeps_arguments_whole(tmp_path):
    code, said, _ = run_slurm(tmp_path, ray_start="touch ~/started; exec sleep 10")
    assert code == 3
    assert said == (
        "ray|token|start|--block|--head|--port=20007|--dashboard-host=127.0.0.1|--num-cpus=16|--num-gpus=4|"
        "pcdarts|/s|run|smoke|--study|two  words|--address|node1:20007|--set|run.wait=true|"
    )


def test_on_slurm_a_ray_that_does_not_start_ends_the_job(tmp_path):
    code, said, log = run_slurm(tmp_path, ray_start="exit 7")
    assert code == 1 and "pcdarts" not in said and "Ray did not start on all 2 nodes" in log


@pytest.mark.parametrize(("rank", "code"), [(0, 3), (1, 0)])
def test_skypilot_runs_the_study_on_the_first_machine_once_all_are_there(tmp_path, rank, code):
    stubs(
        tmp_path / "pcdarts-env" / "bin",
        ray='echo "ray $*" >> ~/said; [ "$1" != status ] || printf " 1 node_a\\n 1 node_b\\n"\n'
        '[ "$3" != --head ] || exec sleep 60',
        pcdarts='echo "pcdarts $*" >> ~/said; exit 3',
    )
    machine = {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NODE_RANK": str(rank), "SKYPILOT_NUM_NODES": "2"}
    task = filled("skypilot", command="smoke --k 2")
    environment = os.environ | machine | task["envs"] | {"HOME": str(tmp_path)}
    done = subprocess.run(["bash", "-c", task["run"]], env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    said = (tmp_path / "said").read_text().splitlines()
    head = {
        "ray start --block --head --port 6379 --dashboard-host 127.0.0.1",
        "pcdarts run smoke --k 2 --address 10.0.0.1:6379 --set run.wait=true",
    }
    start = head if rank == 0 else {"ray start --block --address 10.0.0.1:6379"}
    assert set(said) == start | {"ray status --address 10.0.0.1:6379"}


def test_init_writes_a_file_once_and_a_token_for_its_owner_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    command = ["cluster", "init", "onprem", "--head", "10.1.1.1", "--workers", "10.1.1.2", "--user", "me"]
    assert main(command) == 0
    written = Path("cluster.yaml").read_text()
    assert yaml.safe_load(written)["auth"] == {"ssh_user": "me"}
    assert "ray up cluster.yaml" in capsys.readouterr().out
    token = tmp_path / ".ray" / "auth_token"
    assert re.fullmatch("[0-9a-f]{64}", token.read_text()) and token.stat().st_mode & 0o777 == 0o600
    assert main([*command[:-1], "you"]) == 2 and Path("cluster.yaml").read_text() == written
    assert "cluster.yaml exists; give --force" in capsys.readouterr().err
    assert main([*command[:-1], "you", "--force"]) == 0
    assert yaml.safe_load(Path("cluster.yaml").read_text())["auth"] == {"ssh_user": "you"}


def test_init_asks_on_a_terminal_for_what_no_flag_gives(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    answers = {"workers": "10.1.1.2", "user": "me", "storage": ""}
    asked = []

    def answer(question):
        asked.append(question)
        return answers[question.split()[0]]

    monkeypatch.setattr("builtins.input", answer)
    assert main(["cluster", "init", "onprem", "--head", "10.1.1.1"]) == 0
    assert [question.split()[0] for question in asked] == list(answers)
    assert asked[-1].endswith("[/shared/studies]: ")


def test_init_refuses_a_file_that_it_cannot_write(tmp_path, capsys):
    path = tmp_path / "nowhere" / "cluster.yaml"
    command = ["cluster", "init", "onprem", "--head", "10.1.1.1", "--workers", "10.1.1.2", "--user", "me"]
    assert main([*command, "--output", str(path)]) == 2
    assert capsys.readouterr().err == (
        f"pcdarts: error: {path} cannot be written (No such file or directory); "
        "give --output FILE in a folder that exists and is yours\n"
    )


def test_init_without_a_terminal_names_the_missing_flags(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["cluster", "init", "slurm"]) == 2
    assert "slurm has no default for --partition" in capsys.readouterr().err
    assert not Path("slurm.sh").exists()


def test_a_token_that_all_can_read_becomes_private(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    token = tmp_path / ".ray" / "auth_token"
    token.write_text("as it was")
    token.chmod(0o644)
    assert private_token() == token
    assert token.read_text() == "as it was" and token.stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("RAY_AUTH_TOKEN", "x")
    assert private_token() is None


def test_an_edit_with_a_placeholder_is_required():
    assert Edit(name="a", help="", default="ami-EDIT").required and not Edit(name="a", help="", default="8").required
