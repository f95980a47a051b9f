// Who is called when, over the event lines of docs/operations.md and the audit logs. Each rule has its row there.
param location string
param tags object
param workspaceId string
param actionGroupId string
param vaultNames array
param maxAgeHours int

@description('Object ids of the identities of the app.')
param ownCallers array

@description('Object ids of others that may back up, restore and write backups.')
param knownCallers array
param backupContainer string

// Text constants of Kusto, separated by commas.
var vaultList = [for name in vaultNames: '\'${toLower(name)}\'']
var ownList = [for id in ownCallers: '\'${id}\'']
var knownList = [for id in concat(ownCallers, knownCallers): '\'${id}\'']

// One alert for each value of these.
var byVault = { name: 'vault', operator: 'Include', values: ['*'] }
var byEvent = { name: 'event', operator: 'Include', values: ['*'] }
var byQueue = { name: 'queue', operator: 'Include', values: ['*'] }
var byOperation = { name: 'operation', operator: 'Include', values: ['*'] }
var byCaller = { name: 'caller', operator: 'Include', values: ['*'] }

var eventRules = [
  {
    name: 'backup-failed'
    severity: 1
    description: 'A backup failed, or leaves something stale or missing.'
    events: ['backup.failed', 'backup.partial']
  }
  {
    name: 'guard-tripped'
    severity: 1
    description: 'Many items vanished or were disabled since the last good backup. Nothing is pruned until somebody acknowledges.'
    events: ['guard.tripped']
  }
  {
    name: 'restore-performed'
    severity: 2
    description: 'Somebody restored a backup, or tried to.'
    events: ['restore.completed', 'restore.partial', 'restore.failed']
  }
  {
    name: 'verify-failed'
    severity: 1
    description: 'A verification found damaged backups, or could not be done.'
    events: ['verify.failed']
  }
  {
    name: 'drill-failed'
    severity: 1
    description: 'A drill did not bring everything back, or could not be done.'
    events: ['drill.failed']
  }
  {
    name: 'prune-failed'
    severity: 2
    description: 'Backups that the retention policy does not keep could not be removed.'
    events: ['prune.failed']
  }
  {
    name: 'operation-abandoned'
    severity: 1
    description: 'No worker will ever finish an operation that was begun.'
    events: ['operation.abandoned']
  }
  {
    name: 'message-refused'
    severity: 2
    description: 'A queue message could not be understood.'
    events: ['message.refused']
  }
  {
    name: 'configuration-invalid'
    severity: 1
    description: 'A setting is wrong; nothing is backed up until it is corrected.'
    events: ['configuration.invalid']
  }
]

var queryRules = [
  {
    name: 'no-good-backup'
    severity: 1
    description: 'A vault has no backup in the time allowed, whether anything is logged or not.'
    query: replace(replace(loadTextContent('../queries/no-good-backup.kql'), '$vaults$', join(vaultList, ', ')), '$hours$', string(maxAgeHours))
    window: 'P2D'
    dimensions: [byVault]
  }
  {
    name: 'poison-messages'
    severity: 1
    description: 'The host gave a queue message up after five deliveries.'
    query: loadTextContent('../queries/poison-messages.kql')
    window: 'PT30M'
    dimensions: [byQueue]
  }
  {
    name: 'denied-calls'
    severity: 2
    description: 'Key Vault refused a call of the app, or somebody\'s attempt to back up or restore.'
    query: replace(loadTextContent('../queries/denied-calls.kql'), '$own$', join(ownList, ', '))
    window: 'PT1H'
    dimensions: [byVault, byOperation]
  }
  {
    name: 'unknown-caller'
    severity: 1
    description: 'Somebody other than the app backed up or restored items of a vault.'
    query: replace(loadTextContent('../queries/unknown-caller.kql'), '$known$', join(knownList, ', '))
    window: 'PT1H'
    dimensions: [byVault, byOperation]
  }
  {
    name: 'backups-changed'
    severity: 1
    description: 'Somebody other than the app wrote or deleted blobs in the backup container.'
    query: replace(replace(loadTextContent('../queries/backups-changed.kql'), '$known$', join(knownList, ', ')), '$container$', backupContainer)
    window: 'PT1H'
    dimensions: [byOperation, byCaller]
  }
]

resource eventAlerts 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [for rule in eventRules: {
  name: 'keyvault-backup-${rule.name}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: 'keyvault-backup: ${rule.name}'
    description: rule.description
    severity: rule.severity
    enabled: true
    scopes: [workspaceId]
    evaluationFrequency: 'PT15M'
    // Twice the frequency, because lines come some minutes late.
    windowSize: 'PT30M'
    autoMitigate: true
    skipQueryValidation: true
    criteria: {
      allOf: [
        {
          query: replace(loadTextContent('../queries/event.kql'), '$events$', '\'${join(rule.events, '\', \'')}\'')
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: 0
          dimensions: [byVault, byEvent]
          failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
        }
      ]
    }
    actions: { actionGroups: [actionGroupId] }
  }
}]

resource queryAlerts 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [for rule in queryRules: {
  name: 'keyvault-backup-${rule.name}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: 'keyvault-backup: ${rule.name}'
    description: rule.description
    severity: rule.severity
    enabled: true
    scopes: [workspaceId]
    evaluationFrequency: 'PT15M'
    windowSize: rule.window
    autoMitigate: true
    skipQueryValidation: true
    criteria: {
      allOf: [
        {
          query: rule.query
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: 0
          dimensions: rule.dimensions
          failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
        }
      ]
    }
    actions: { actionGroups: [actionGroupId] }
  }
}]
