"""EffNet's stage 1 in plain PyTorch, written for comparison: the other side of the benchmarks.

The same computation as the library's training step: A0 and A1 views from uint8 batches, two timm-style ViTs with linear
heads, four InfoNCE terms, Adam with L2 in the gradient.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

TEMPERATURE = 0.07


class Block(nn.Module):
    """Pre-norm block with PyTorch's own attention kernel."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply one block to tokens (b, n, d)."""
        b, n, d = x.shape
        query, key, value = self.qkv(self.norm1(x)).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value)  # (b, k, n, e)
        x = x + self.proj(attended.transpose(1, 2).reshape(b, n, d))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Encoder(nn.Module):
    """ViT whose CLS token is the feature, and a linear head on it."""

    def __init__(self, width: int, depth: int, heads: int, size: int, patch: int, embedding: int):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, width, patch, patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 1 + (size // patch) ** 2, width) * 0.02)
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, embedding)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Give CLS token and embedding of images (b, 3, h, w)."""
        patches = self.patch_embed(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls.expand(len(images), -1, -1), patches], 1) + self.position
        feature = self.norm(self.blocks(tokens))[:, 0]
        return feature, self.head(feature)


def info_nce(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Contrast every row with all other rows of both sets."""
    z = F.normalize(torch.cat([first, second]).float(), dim=1)
    logits = (z @ z.T / TEMPERATURE).fill_diagonal_(-math.inf)
    partner = torch.arange(len(z), device=z.device).roll(len(first))
    return F.cross_entropy(logits, partner)


def rotated_view(images: torch.Tensor, size: int) -> torch.Tensor:
    """View A1 of a batch: rotate by U(-30, 30) degrees, mirror with p = 0.8, crop the centre."""
    b, source = images.shape[0], images.shape[-1]
    angle = (torch.rand(b, device=images.device) * 2 - 1) * math.radians(30)
    mirror = torch.where(torch.rand(b, device=images.device) < 0.8, -1.0, 1.0)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    matrix = torch.stack([torch.stack([cos * mirror, sin, zero], 1), torch.stack([-sin * mirror, cos, zero], 1)], 1)
    grid = F.affine_grid(matrix * (size / source), [b, 3, size, size], align_corners=False)
    return F.grid_sample(images, grid, mode="nearest", align_corners=False)


VARIANTS = {  # name -> (bfloat16 autocast, torch.compile with fused Adam)
    "eager": (False, False),
    "autocast": (True, False),
    "compiled": (False, True),
    "compiled autocast": (True, True),
}


class TrainStep:
    """Model, optimiser and one step on a uint8 batch, channels last as the loader gives it.

    Args:
        width: token width; depth, heads, size, patch likewise as in the library's ModelConfig.
        device: cpu or cuda.
        autocast: bfloat16 autocast.
        compiled: torch.compile on the loss, and the fused Adam.
    """

    def __init__(self, *, width: int, depth: int, heads: int, size: int, patch: int, embedding: int,
                 device: str = "cpu", autocast: bool = False, compiled: bool = False):  # fmt: skip
        torch.manual_seed(0)
        torch.set_float32_matmul_precision("high")  # TF32 on GPUs, as XLA does by default
        self.size, self.device, self.autocast = size, device, autocast
        arguments = (width, depth, heads, size, patch, embedding)
        self.sketch, self.photo = Encoder(*arguments).to(device), Encoder(*arguments).to(device)
        parameters = [*self.sketch.parameters(), *self.photo.parameters()]
        self.optimizer = torch.optim.Adam(parameters, lr=6e-6, weight_decay=1e-4, fused=compiled)
        self.loss = torch.compile(self._loss) if compiled else self._loss

    def _views(self, plain: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        # a permuted view of rows that end in RGB is what torch calls channels_last; nothing is copied
        channels_first = [x.permute(0, 3, 1, 2).float() / 255 for x in (plain, source)]
        return torch.cat([channels_first[0], rotated_view(channels_first[1], self.size)])

    def _loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        plain, source = self.size, int(self.size * 1.2)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.autocast):
            sketch, sketch_embedding = self.sketch(self._views(batch[f"sketch_{plain}"], batch[f"sketch_{source}"]))
            photo, photo_embedding = self.photo(self._views(batch[f"photo_{plain}"], batch[f"photo_{source}"]))
        (s, s_augmented), (p, p_augmented) = sketch.chunk(2), photo.chunk(2)
        multi = info_nce(sketch_embedding.chunk(2)[0], photo_embedding.chunk(2)[0])
        return multi + info_nce(s_augmented, s) + info_nce(p_augmented, p) + info_nce(s, p)

    def __call__(self, batch: dict[str, torch.Tensor]) -> float:
        """Take one step; waits for the loss, so that it can be timed."""
        batch = {name: rows.to(self.device, non_blocking=True) for name, rows in batch.items()}
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(batch)
        loss.backward()
        self.optimizer.step()
        if self.device == "cuda":
            torch.cuda.synchronize()
        return float(loss.detach())


class Evaluate:
    """Embed sketches and photos and count the rank of each true photo.

    Args:
        encoder: arguments of Encoder.
        device: cpu or cuda.
        autocast: bfloat16 autocast.
        compiled: torch.compile on the encoders.
    """

    def __init__(self, *encoder: int, device: str = "cpu", autocast: bool = False, compiled: bool = False):
        torch.manual_seed(0)
        self.device, self.autocast = device, autocast
        encoders = [Encoder(*encoder).to(device).eval() for _ in range(2)]
        self.encoders = [torch.compile(one) if compiled else one for one in encoders]

    def __call__(self, sketches: torch.Tensor, photos: torch.Tensor, truth: torch.Tensor, batch: int) -> torch.Tensor:
        """Give the rank of each sketch's photo, best 1; ties go to the true photo."""
        with torch.inference_mode():
            z = [self._embed(one, images, batch) for one, images in zip(self.encoders, (sketches, photos), strict=True)]
            scores = z[0] @ z[1].T  # (s, g)
            true = scores.gather(1, truth.to(self.device)[:, None])
            return (1 + (scores > true).sum(1)).cpu()

    def _embed(self, encoder: nn.Module, images: torch.Tensor, batch: int) -> torch.Tensor:
        parts = []
        for rows in images.split(batch):
            pixels = rows.to(self.device, non_blocking=True).permute(0, 3, 1, 2).float() / 255
            with torch.autocast(self.device, torch.bfloat16, enabled=self.autocast):
                parts.append(F.normalize(encoder(pixels)[1].float(), dim=1))
        return torch.cat(parts)
