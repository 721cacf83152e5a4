-- Health of the four kinds for Argo CD. In the ConfigMap argocd-cm, once for each kind:
--
--   resource.customizations.health.elile.io_VaultServer: | (this file)
--   resource.customizations.health.elile.io_ElileSecret: | (this file)
--   resource.customizations.health.elile.io_RotationSchedule: | (this file)
--   resource.customizations.health.elile.io_Rotation: | (this file)
--
-- Ready says whether what the spec asks is delivered and not known to be wrong; it stays True while the vault is away, and
-- then the message of Synced tells since when. A Rotation is a run: it has an end, and Complete or Failed in place of Ready.

local health = { status = "Progressing", message = "waiting for the operator" }

local function condition(kind)
  for _, c in ipairs(obj.status.conditions) do
    if c.type == kind then
      return c
    end
  end
end

if obj.status == nil or obj.status.conditions == nil then
  return health
end

if obj.kind == "Rotation" then
  local verdicts = { Complete = "Healthy", Failed = "Degraded" }
  health.message = "waiting for the end of the run"
  for kind, verdict in pairs(verdicts) do
    local ended = condition(kind)
    if ended ~= nil and ended.status == "True" then
      health.status = verdict
      health.message = ended.reason .. ": " .. ended.message
    end
  end
  return health
end

local ready = condition("Ready")
if ready == nil or ready.observedGeneration ~= obj.metadata.generation then
  return health
end

health.message = ready.reason .. ": " .. ready.message
if ready.status == "True" and ready.reason == "Suspended" then
  health.status = "Suspended"
elseif ready.status == "True" then
  health.status = "Healthy"
  local synced = condition("Synced")
  if synced ~= nil and synced.status == "False" then
    health.message = synced.reason .. ": " .. synced.message
  end
elseif ready.status == "False" then
  health.status = "Degraded"
end
return health
