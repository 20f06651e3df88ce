import tinygrad_edu as torch
import tinygrad_edu.nn.functional as F
from tinygrad_edu import nn, optim
from tinygrad_edu.optim.lr_scheduler import CosineAnnealingLR
from tinygrad_edu.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Dropout(0.1))
        self.head = nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(self.layers(x))
        return y.clamp(-10, 10) * 2 + y.sum(-1, keepdim=True)


def entropy(p: torch.Tensor) -> float:
    return -(p * torch.log(p)).sum().item()


def train(device: str) -> list[float]:
    torch.manual_seed(0)
    x, y = torch.randn(32, 4), torch.randint(0, 3, (32,))
    model = Net(8).to(device)
    optimizer = optim.AdamW(model.parameters(), lr=1e-3)
    scheduler = CosineAnnealingLR(optimizer, T_max=2)
    criterion = nn.CrossEntropyLoss()
    losses: list[float] = []
    for _ in range(2):
        model.train()
        for xb, yb in DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True):
            optimizer.zero_grad()
            loss = criterion(model(xb.to(device)), yb)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
            optimizer.step()
            losses.append(loss.item())
        scheduler.step()
    model.eval()
    with torch.no_grad():
        logits = model(x)
        probabilities = F.softmax(logits, dim=-1)
        best = logits.argmax(-1)
        print((best == y).float().mean().item(), entropy(probabilities))
    q = torch.stack([x, x]).transpose(0, 1)[:, 0].reshape(-1, 2)
    values, indices = torch.topk(q.std(0), 1)
    torch.save(model.state_dict(), "model.pt")
    model.load_state_dict(torch.load("model.pt"))
    print(values.tolist(), indices.shape, torch.erfinv(q).lgamma().shape, x[0, None].dtype)
    return losses


print(train("cuda" if torch.cuda.is_available() else "cpu"))
torch.ones(3).reshap(3)  # wrong
nn.Linear("4", 8)  # wrong
print(torch.nn.Liner)  # wrong
optim.AdamW(lr=1e-3)  # wrong
z: str = torch.zeros(2).sum()  # wrong
