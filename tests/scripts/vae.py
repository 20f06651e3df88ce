"""Variational autoencoder on the handwritten digits that scikit-learn ships."""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset


class Digits(Dataset):
    """Images only, scaled to [0, 1]."""

    def __init__(self, train, limit=None):
        images = load_digits().data[:limit] / 16.0
        split = int(len(images) * 0.8)
        self.images = images[:split] if train else images[split:]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, idx):
        return torch.as_tensor(self.images[idx], dtype=torch.float32)


class VAE(nn.Module):
    def __init__(self, hidden=128, latent=8):
        super().__init__()
        self.latent = latent
        self.encoder = nn.Sequential(
            nn.Linear(64, hidden), nn.SiLU(), nn.Linear(hidden, 2 * latent)
        )
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.SiLU(), nn.Linear(hidden, 64))

    def encode(self, x):
        return self.encoder(x).chunk(2, dim=-1)

    def reparameterize(self, mu, logvar):
        std = torch.exp(0.5 * logvar)
        eps = torch.randn_like(std)
        return mu + eps * std

    def forward(self, x):
        mu, logvar = self.encode(x.view(-1, 64))
        z = self.reparameterize(mu, logvar)
        return self.decoder(z), mu, logvar

    @torch.inference_mode()
    def sample(self, n, device):
        return torch.sigmoid(self.decoder(torch.randn(n, self.latent, device=device)))


def loss_function(logits, x, mu, logvar, beta):
    """Reconstruction + KL divergence, summed over pixels and batch (Kingma and Welling, app. B)."""
    bce = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return bce + beta * kld, bce, kld


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--latent", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--warmup", type=int, default=10, help="epochs until beta is 1")
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train_loader = DataLoader(Digits(True, args.limit), batch_size=args.batch_size, shuffle=True)
    test_loader = DataLoader(Digits(False, args.limit), batch_size=args.batch_size)

    model = VAE(args.hidden, args.latent).to(device)
    optimizer = optim.AdamW(model.parameters(), lr=args.lr)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs)

    for epoch in range(1, args.epochs + 1):
        model.train()
        beta = min(1.0, epoch / args.warmup)
        sums = torch.zeros(3)
        for x in train_loader:
            x = x.to(device)
            logits, mu, logvar = model(x)
            losses = loss_function(logits, x, mu, logvar, beta)
            optimizer.zero_grad()
            losses[0].backward()
            optimizer.step()
            sums += torch.stack(losses).detach().cpu()
        scheduler.step()

        model.eval()
        test_loss = 0.0
        with torch.no_grad():
            for x in test_loader:
                x = x.to(device)
                logits, mu, logvar = model(x)
                test_loss += loss_function(logits, x, mu, logvar, 1.0)[0].item()
        loss, bce, kld = (sums / len(train_loader.dataset)).tolist()
        print(f"epoch {epoch}: loss {loss:.5f} reconstruction {bce:.5f} kl {kld:.5f} "
              f"test {test_loss / len(test_loader.dataset):.5f}")  # fmt: skip

    images = model.sample(4, device).view(4, 8, 8).cpu()
    print(f"samples: mean {images.mean():.5f} std {images.std():.5f}")
    shades = " .:-=+*#%@"
    for row in images.permute(1, 0, 2):
        print("  ".join("".join(shades[int(v * 9.99)] for v in line) for line in row))


if __name__ == "__main__":
    main()
