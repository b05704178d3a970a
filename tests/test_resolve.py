"""The parts of a task are found, from the command line, a settings file, a record or the checkpoint itself."""

from __future__ import annotations

import pathlib
import sys
import textwrap
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from helpers.nets import mlp
from landscape import LandscapeError, Objective, Task
from landscape.errors import CheckpointError, TaskError
from landscape.inputs.user_code import call
from landscape.resolve import resolve_task

NET = """
    from torch import nn

    def make(hidden=8):
        return nn.Sequential(nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, 3))

    net = make()

    def batches():
        import torch
        yield torch.ones(4, 2), torch.zeros(4, dtype=torch.long)
        yield torch.zeros(3, 2), torch.ones(3, dtype=torch.long)

    def loss(output, target):
        return output.square().mean()
"""
TASK = """
    import landscape
    import my_net

    def task():
        return landscape.Task(model=my_net.make(), data=list(my_net.batches()), loss="cross_entropy", name="named")
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> pathlib.Path:
    """A working folder with a checkpoint, a network and data; imports are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    torch.manual_seed(0)
    torch.save(mlp().state_dict(), "net.pt")
    write("my_net.py", NET)
    np.savez("data.npz", inputs=np.ones((5, 2), np.float32), targets=np.arange(5) % 3)
    yield tmp_path
    for name in set(sys.modules) - known:
        if name.startswith(("my_", "landscape_user_", "pkg")):
            del sys.modules[name]


def write(path: str, text: str) -> pathlib.Path:
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(path).write_text(textwrap.dedent(text))
    return pathlib.Path(path)


def message(*arguments, error: type[LandscapeError] = TaskError, **options) -> str:
    with pytest.raises(error) as caught:
        resolve_task(*arguments, **options)
    return str(caught.value)


def assert_trained(task: Task, path: str = "net.pt") -> None:
    """Check that the checkpoint's weights are in the task's model, and that the task can be measured."""
    saved = torch.load(path, weights_only=True)
    state = task.model.state_dict()
    assert all(torch.equal(state[name], saved[name]) for name in saved)
    assert Objective(task.model, task.data, task.loss, forward=task.forward).centre > 0


# --- the command line ---


def test_a_task_file():
    write("my_task.py", TASK)
    task, checkpoint = resolve_task("net.pt", task="my_task.py")
    assert_trained(task)
    assert task.name == "named"
    assert checkpoint.form == "state_dict, 4 tensors"


def test_a_task_file_elsewhere_imports_its_neighbours(folder, monkeypatch):
    write("code/my_task.py", TASK)
    (folder / "my_net.py").rename(folder / "code/my_net.py")
    assert_trained(resolve_task("net.pt", task=folder / "code/my_task.py")[0])


def test_data_and_loss_beside_a_task_file_replace_its_own():
    write("my_task.py", TASK)
    task, _ = resolve_task("net.pt", task="my_task.py", data="data.npz", loss="mse")
    assert task.data[0].shape == (5, 2)
    assert task.loss == "mse"


def test_a_module_factory_with_arguments_and_a_data_file():
    torch.save({"model": mlp(hidden=5).state_dict()}, "wide.pt")
    task, checkpoint = resolve_task("wide.pt", model="my_net:make", model_args='{"hidden": 5}', data="data.npz")
    assert task.model[0].out_features == 5
    assert task.loss == "cross_entropy"
    assert task.name == "wide"
    assert "nested under 'model'" in checkpoint.form
    task, _ = resolve_task("wide.pt", model="my_net:make", model_args={"hidden": 5}, data="data.npz")
    assert task.model[0].out_features == 5


def test_files_and_functions_for_every_part():
    write("pkg/__init__.py", "")
    write("pkg/parts.py", NET)
    task, _ = resolve_task("net.pt", model="pkg.parts:make", data="my_net.py:batches", loss="my_net:loss")
    assert_trained(task)
    assert task.loss.__name__ == "loss"
    task, _ = resolve_task("net.pt", model="my_net.py:net", data="pkg.parts:batches")
    assert_trained(task)


# --- what was recorded, and landscape.toml ---


def record_task(monkeypatch) -> None:
    data = torch.ones(4, 2), torch.zeros(4).long()
    monkeypatch.setattr("landscape.recipes.task_from_record", lambda record: Task(mlp(**record["args"]), data))
    torch.save({"state_dict": mlp().state_dict(), "landscape_task": {"recipe": "x", "args": {"hidden": 8}}}, "own.pt")


def test_a_checkpoint_with_its_own_record_needs_nothing_else(monkeypatch):
    record_task(monkeypatch)
    write("landscape.toml", "task = 'absent.py'")
    task, checkpoint = resolve_task("own.pt")
    assert task.data[0].shape == (4, 2)
    assert torch.equal(task.model[0].weight, checkpoint.state["0.weight"])
    task, _ = resolve_task("own.pt", data="data.npz", loss="model")
    assert task.data[0].shape == (5, 2)
    assert task.loss == "model"
    assert "`model_args=...` goes together with `model=...`" in message("own.pt", model_args="{}")
    assert resolve_task("own.pt", model="my_net:make", data="my_net:batches")[0].data is not None


@pytest.mark.parametrize("where", ["beside", "working folder"])
def test_a_settings_file(where, folder, monkeypatch):
    write("runs/landscape.toml" if where == "beside" else "landscape.toml", "model = 'my_net:make'\ndata = 'd.npz'\n")
    home = folder / "runs" if where == "beside" else folder
    (folder / "runs").mkdir(exist_ok=True)
    (folder / "data.npz").rename(home / "d.npz")
    if where == "beside":
        (folder / "my_net.py").rename(home / "my_net.py")  # modules beside the settings can be imported
    (folder / "net.pt").rename(folder / "runs/net.pt")
    task, _ = resolve_task("runs/net.pt")
    assert_trained(task, "runs/net.pt")


def test_the_command_line_goes_before_the_settings_file():
    write("landscape.toml", "model = 'my_net:make'\ndata = 'absent.npz'\nloss = 'mse'\n[model_args]\nhidden = 5\n")
    task, _ = resolve_task("net.pt", model_args='{"hidden": 8}', data="data.npz")
    assert task.loss == "mse"
    assert_trained(resolve_task("net.pt", model="my_net:make", data="data.npz", loss="cross_entropy")[0])
    write("landscape.toml", "task = 'absent.py'\ndata = 'data.npz'\n")
    assert_trained(resolve_task("net.pt", model="my_net:make")[0])
    write("my_task.py", TASK)
    assert isinstance(resolve_task("net.pt", task="my_task.py")[0].data, list)  # a task file is complete
    write("landscape.toml", "task = 'my_task.py'\ndata = 'data.npz'\n")
    assert resolve_task("net.pt")[0].data[0].shape == (5, 2)
    assert "`model_args=...` goes together with `model=...`" in message("net.pt", model_args="{}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modle = 'a:b'", "unknown key 'modle'. Did you mean model?"),
        ("epochs = 3", "Known are task, model, model_args, data, loss"),
        ("model = 3", "model must be a string, not 3"),
        ("model = 'a:b'\nmodel_args = '{}'", "model_args must be a table"),
        ("model = ", "cannot be read as TOML: "),
        ("model = 'a:b'\ntask = 'c.py'", "both task and model"),
        ("task = 'tsk.py'", "landscape.toml: task: the file"),
    ],
)
def test_mistakes_in_a_settings_file(text, said, folder):
    write("landscape.toml", text)
    found = message("net.pt")
    assert said in found
    assert str(folder / "landscape.toml") in found


# --- networks inside the checkpoint ---


def test_a_self_contained_checkpoint_needs_only_data():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(mlp()).save("script.pt")
    task, checkpoint = resolve_task("script.pt", data="data.npz")
    assert task.model is checkpoint.model
    assert task.name == "script"
    assert Objective(task.model, task.data, task.loss).centre > 0
    said = message("script.pt")
    assert "no data to measure the loss on" in said
    assert "`data='data.npz'`" in said


def test_nothing_fits():
    said = message("net.pt")
    assert "net.pt holds weights (state_dict, 4 tensors), no network to put them into, and no data" in said
    assert "Pass `model='my_net.py:make_net'` and `data='data.npz'`, or `task='my_task.py'`" in said
    assert "`task=" in message("net.pt", data="data.npz")
    assert "no data" in message("net.pt", model="my_net:make")
    assert "cannot go together" in message("net.pt", task="t.py", model="a:b")
    assert "does not exist" in message("absent.pt", error=CheckpointError)


def test_a_file_that_names_its_network_says_how_to_build_it():
    torch.save({"arch": "resnet18", "state_dict": torch.load("net.pt")}, "named.pt")
    said = message("named.pt")
    assert "names the network resnet18" in said
    assert '`model_args={"model_name": "resnet18"}`' in said
    assert "`model='torchvision.models:resnet18'`" in said


def test_a_file_out_of_a_folder_of_hugging_face_says_to_pass_the_folder(folder):
    assert "Pass the folder" not in message("net.pt")
    write("config.json", '{"architectures": ["BertModel"]}')
    assert f"Its folder is one of Hugging Face, and names the network. Pass the folder: {folder}." in message(
        str(folder / "net.pt")
    )


# --- mistakes in the user's code ---


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def task(:", "my_task.py, line 1: SyntaxError"),
        (
            "import absent_package",
            "my_task.py, line 1, in <module>: ModuleNotFoundError: No module named 'absent_package'",
        ),
        ("x = 1\nraise SystemExit('usage')", "my_task.py, line 2, in <module>: SystemExit: usage"),
        ("def tsk(): pass", "has no function task()"),
        ("def task(size): pass", "missing a required argument: 'size'"),
        ("def task(): return 1", "returned a value of type int; it must return landscape.Task"),
        ("def task(): pass", "returned None"),
        (
            "def inner():\n  return {}['a']\ndef task():\n  return inner()",
            "my_task.py, line 2, in inner: KeyError: 'a'",
        ),
        ("import torch\ndef task():\n  torch.ones(2) @ torch.ones(3)", "my_task.py, line 3, in task: RuntimeError"),
        (
            "import landscape\ndef task():\n  return landscape.Task(3, [])",
            "line 3, in task: a task's model must be a torch",
        ),
        ("import my_broken", "my_broken.py, line 1, in <module>: ZeroDivisionError"),
    ],
)
def test_mistakes_in_a_task_file(code, said):
    write("my_broken.py", "1 / 0")
    write("my_task.py", code)
    found = message("net.pt", task="my_task.py")
    assert said in found
    assert found.startswith("`task=...`")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "my_net"}, "`model=...` must name a function as pkg.mod:function"),
        ({"model": "my_nett:make"}, "there is no module my_nett, neither installed nor in"),
        ({"model": "my_nett:make"}, "Did you mean my_net?"),
        ({"model": "absent.parts:make"}, "there is no module absent.parts"),
        ({"model": "my_net:mak"}, "my_net has no mak. Did you mean make?"),
        ({"model": "my_nett.py:make"}, "Did you mean"),
        ({"model": "my_net:make", "model_args": '{"hiden": 3}'}, "make(hiden=3) does not fit make(hidden=8)"),
        ({"model": "my_net:make", "model_args": "{hidden: 3}"}, "`model_args=...` is no JSON"),
        (
            {"model": "my_net:make", "model_args": "[3]"},
            "must be a dict (or a JSON object) with the factory's arguments, not a value of type list",
        ),
        ({"model": "my_net:make", "model_args": '{"hidden": "x"}'}, "my_net.py, line 5, in make: TypeError"),
        ({"model": "my_net:batches"}, "returned a value of type generator; it must return a torch module"),
        ({"model": "my_net:__name__"}, "not a function that makes a model"),
        ({"model_args": "{}", "data": "data.npz"}, "no network"),
        ({"model_args": '{"a": 1}', "data": "data.npz"}, "`model_args=...` goes together with a model"),
        ({"model": "my_net:make", "data": "dat.npz"}, "Did you mean"),
        ({"model": "my_net:make", "data": "my_net:nothing"}, "my_net has no nothing"),
        ({"model": "my_net:make", "data": "builtins:print"}, "returned None"),
        ({"model": "my_net:make", "data": "data.npz", "loss": "my_net:__name__"}, "not a function of (output, target)"),
    ],
)
def test_mistakes_in_options(options, said):
    assert said in message("net.pt", **options)


def test_a_package_that_fails_while_it_is_imported():
    write("pkg_broken/__init__.py", "import absent_package")
    write("pkg_broken/nets.py", NET)
    said = message("net.pt", model="pkg_broken.nets:make", data="data.npz")
    assert "pkg_broken/__init__.py, line 1" in said
    assert "No module named 'absent_package'" in said
    write("pkg_raises/__init__.py", "1 / 0")
    write("pkg_raises/nets.py", NET)
    said = message("net.pt", model="pkg_raises.nets:make")
    assert "pkg_raises/__init__.py, line 1, in <module>: ZeroDivision" in said


def test_arguments_of_a_function_in_c_are_judged_by_a_call():
    """Python knows no signature of it."""
    assert call(dict, {"hidden": 3}, "`model=...`") == {"hidden": 3}
    with pytest.raises(TaskError, match=r"`model=...`: max\(hidden=3\) failed: TypeError"):
        call(max, {"hidden": 3}, "`model=...`")


def test_weights_that_do_not_fit_the_model_are_a_checkpoint_error():
    said = message("net.pt", model="my_net:make", model_args='{"hidden": 9}', data="data.npz", error=CheckpointError)
    assert "different shape" in said


def test_what_the_output_is_comes_from_options_before_the_file():
    write("landscape.toml", 'model = "my_net:make"\ndata = "data.npz"\noutput = "probabilities"')
    assert resolve_task("net.pt")[0].output == "probabilities"
    assert resolve_task("net.pt", output="logits")[0].output == "logits"


# --- Task itself ---


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"model": nn.Linear}, "not the class Linear. Call the class: model=Net()"),
        ({"data": "data.npz"}, "load_data"),
        ({"data": None}, "must be tensors or batches, not None"),
        ({"loss": 3}, "must be a name or a function"),
        ({"forward": "f"}, "must be a function of (model, batch)"),
        ({"count_samples": 3}, "a task's count_samples must be a function of a batch, not"),
        ({"output": "scores"}, "must be one of logits, probabilities, log-probabilities, not 'scores'"),
    ],
)
def test_a_task_checks_its_parts(parts, said):
    with pytest.raises(TaskError) as caught:
        Task(**{"model": nn.Linear(2, 2), "data": [], **parts})
    assert said in str(caught.value)
