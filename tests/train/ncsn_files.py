"""Names and shapes of the files of NCSN and NCSNv2, with 16 channels."""

from tests.train.golden import Shapes

WIDTH = 16
PLANS = {
    "standard": {"1": (1, 0), "2": (2, 1), "3": (2, 2), "4": (2, 4)},
    "deeper": {"1": (1, 0), "2": (2, 1), "3": (2, 1), "4": (4, 2), "5": (4, 4)},
    "deepest": {"1": (1, 0), "2": (2, 1), "3": (2, 1), "31": (2, 1), "4": (4, 2), "5": (4, 4)},
}


class _File:
    def __init__(self, levels: int) -> None:
        self.levels, self.shapes = levels, Shapes()

    def conv(self, at: str, a: int, b: int, size: int = 3, *, bias: bool = True) -> None:
        self.shapes[f"{at}.weight"] = (b, a, size, size)
        if bias:
            self.shapes[f"{at}.bias"] = (b,)

    def norm(self, at: str, c: int) -> None:
        if self.levels:
            self.shapes[f"{at}.embed.weight"] = (self.levels, 3 * c)
        else:
            self.shapes |= {f"{at}.{name}": (c,) for name in ("alpha", "gamma", "beta")}

    def residual(self, at: str, a: int, b: int, *, down: bool, dilated: bool) -> None:
        inner = a if down else b
        end = ".conv" if down and not dilated else ""
        self.norm(f"{at}.normalize1", a)
        self.conv(f"{at}.conv1", a, inner)
        self.norm(f"{at}.normalize2", inner)
        self.conv(f"{at}.conv2{end}", inner, b)
        if down or a != b:
            self.conv(f"{at}.shortcut{end}", a, b, 3 if dilated else 1)

    def units(self, at: str, c: int, count: int) -> None:
        for i in range(1, count + 1):
            for j in (1, 2):
                self.conv(f"{at}.{i}_{j}_conv", c, c, bias=False)
                if self.levels:
                    self.norm(f"{at}.{i}_{j}_norm", c)

    def refine(self, at: str, inputs: list[int], c: int, *, end: bool) -> None:
        for i, a in enumerate(inputs):
            self.units(f"{at}.adapt_convs.{i}", a, 2)
            if len(inputs) > 1:
                self.conv(f"{at}.msf.convs.{i}", a, c)
                if self.levels:
                    self.norm(f"{at}.msf.norms.{i}", a)
        for i in range(2):
            self.conv(f"{at}.crp.convs.{i}", c, c, bias=False)
            if self.levels:
                self.norm(f"{at}.crp.norms.{i}", c)
        self.units(f"{at}.output_convs", c, 3 if end else 1)


def refinenet(depth: str = "standard", *, levels: int = 0) -> Shapes:
    """``levels``: of the first NCSN, whose norms know them."""
    file, plan = _File(levels), PLANS[depth]
    file.conv("begin_conv", 3, WIDTH)
    before, widths = WIDTH, []
    for number, (mult, dilation) in plan.items():
        width = mult * WIDTH
        dilated = dilation > 1
        file.residual(f"res{number}.0", before, width, down=dilation > 0, dilated=dilated)
        file.residual(f"res{number}.1", width, width, down=False, dilated=dilated)
        before = width
        widths.append(width)
    below: list[int] = []
    upward = sorted(plan, key=["1", "2", "31", "3", "4", "5"].index)
    for i, number in enumerate(upward):  # the first is the lowest
        level = len(plan) - 1 - i
        target = widths[max(0, level - 1)]
        file.refine(f"refine{number}", [widths[level], *below], target, end=level == 0)
        below = [target]
    file.norm("normalizer", WIDTH)
    file.conv("end_conv", WIDTH, 3)
    return file.shapes
