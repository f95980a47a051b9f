// Everything that keyvault-backup needs in Azure: the app, two storage accounts, four identities with their rights on
// vaults and containers, logs, alerts and a workbook. See README.md beside this file.
targetScope = 'subscription'

@description('Name of the deployment; also that of the azd environment.')
@minLength(1)
@maxLength(40)
param environmentName string

@description('Azure region of all resources. Backups open only in the geography of their vaults; the app may be anywhere.')
param location string

@description('Resource group, which is created when it is missing.')
param resourceGroupName string = 'rg-${environmentName}'

@description('Resource ids of the vaults to back up. They must use Azure role-based access control.')
param vaults array

@description('Resource ids of the vaults that may be restored into.')
param restoreVaults array = []

@description('Lets restores replace and purge what is in the target vaults: onConflict replace, onDeleted purge.')
param allowReplace bool = false

@description('Resource id of an empty vault into which drills restore, in the subscription and geography of the vaults and without purge protection; empty for no drills.')
param drillVault string = ''

@description('How many items a drill restores, chosen at random; empty for all.')
param drillSample string = ''

@description('Items to back up: patterns such as secrets/db-* or !keys/tmp-*, separated by commas; empty for all.')
param backupItems string = ''

@description('When backups run: six fields, seconds first, in UTC.')
param backupSchedule string = '0 0 2 * * *'

@description('When verifications and drills run, likewise.')
param verifySchedule string = '0 0 4 * * 6'

@description('After how many days every item is read anew.')
@minValue(1)
@maxValue(365)
param fullEveryDays int = 7

@description('Requests per second to one vault; empty for a quarter of the quota of Key Vault.')
param requestsPerSecond string = ''

@description('Requests per second of one instance to all vaults together; empty for five times those to one vault.')
param totalRequestsPerSecond string = ''

@description('Items of one vault that are dealt with at once.')
@minValue(1)
@maxValue(256)
param concurrency int = 16

@description('Which backups are kept; empty for all.')
param keep string = 'last=7,daily=35,weekly=8,monthly=12,yearly=7'

@description('Days for which the backup container refuses to change or delete a blob, from its creation; 0 for none. Longer than fullEveryDays.')
@minValue(0)
@maxValue(146000)
param immutableDays int = 30

@description('True once the immutability policy was locked: the template then leaves it alone, as Azure refuses to write it again.')
param immutabilityLocked bool = false

@description('Share of items, in percent, that may vanish from one backup to the next before the guard trips.')
@minValue(0)
@maxValue(100)
param guardDeletedPercent int = 20

@description('Share of items, in percent, that may be disabled from one backup to the next before the guard trips.')
@minValue(0)
@maxValue(100)
param guardDisabledPercent int = 20

@description('How old the newest good backup of a vault may be, in hours. An alert rule of Azure Monitor sees two days at most.')
@minValue(1)
@maxValue(48)
param maxAgeHours int = 26

@description('What the app logs. Alerts need info or more.')
@allowed(['info', 'debug', 'trace'])
param logLevel string = 'info'

@description('Redundancy of the storage account of backups; GRS and GZRS keep a copy in the paired region.')
@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_RAGRS', 'Standard_GZRS', 'Standard_RAGZRS'])
param backupRedundancy string = 'Standard_ZRS'

@description('Days for which a deleted blob or container of backups can be brought back.')
@minValue(1)
@maxValue(365)
param softDeleteDays int = 30

@description('Days after which a blob moves to the cool tier. As blobs are small, that costs more than it saves unless most items have many versions (docs/operations.md, What it costs), so it is as good as never.')
@minValue(1)
param coolAfterDays int = 3650

@description('Days after which a blob moves to the cold tier; see coolAfterDays.')
@minValue(2)
param coldAfterDays int = 3651

@description('Keeps everybody from deleting the storage account of backups before they remove the lock.')
param lockBackups bool = true

@description('Closes the app and the storage accounts to the public network, and reaches them and the vaults over private endpoints.')
param privateNetwork bool = false

@description('Address space of the virtual network.')
param networkPrefix string = '10.90.0.0/23'

@description('Subnet that the app calls out of: at least /27, and an address for each instance.')
param appSubnetPrefix string = '10.90.0.0/24'

@description('Subnet of the private endpoints.')
param endpointSubnetPrefix string = '10.90.1.0/24'

@description('Sends the audit log of each vault to the workspace. Needs the right to write diagnostic settings of the vaults.')
param auditVaults bool = true

@description('Object ids, besides those of the app, that may back up and restore without an alert.')
param knownCallers array = []

@description('Addresses that alerts are mailed to.')
param alertEmails array

@description('Days for which logs are kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 90

@description('Most instances of the app. Each works on one vault at a time.')
@minValue(40)
@maxValue(1000)
param maximumInstanceCount int = 100

@description('Memory of an instance, in MB.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 2048

var token = toLower(uniqueString(subscription().id, resourceGroupName, environmentName))
var tags = { 'azd-env-name': environmentName }
var vaultNames = [for vault in vaults: last(split(vault, '/'))]
var restoreVaultNames = [for vault in restoreVaults: last(split(vault, '/'))]
var drillVaults = empty(drillVault) ? [] : [drillVault]
var allVaults = union(vaults, restoreVaults, drillVaults)
var vaultSubscriptions = [for vault in allVaults: '/subscriptions/${split(vault, '/')[2]}']
var clouds = { AzureCloud: 'public', AzureUSGovernment: 'usgovernment', AzureChinaCloud: 'china' }
var backupQueue = 'keyvault-backup-jobs'
var restoreQueue = 'keyvault-restore-jobs'

// The settings of README.md, and no others: tests/it/settings_docs.rs compares the names.
var settings = {
  BACKUP_SCHEDULE: backupSchedule
  VERIFY_SCHEDULE: verifySchedule
  BACKUP_QUEUE: backupQueue
  RESTORE_QUEUE: restoreQueue
  BACKUP_VAULTS: join(vaultNames, ',')
  BACKUP_ITEMS: backupItems
  BACKUP_STORE_URL: backupStorage.outputs.backupsUrl
  STATE_STORE_URL: backupStorage.outputs.stateUrl
  BACKUP_FULL_EVERY_DAYS: string(fullEveryDays)
  BACKUP_REQUESTS_PER_SECOND: requestsPerSecond
  BACKUP_TOTAL_REQUESTS_PER_SECOND: totalRequestsPerSecond
  BACKUP_CONCURRENCY: string(concurrency)
  RESTORE_TARGET_VAULTS: join(restoreVaultNames, ',')
  BACKUP_KEEP: keep
  BACKUP_IMMUTABLE_DAYS: immutableDays > 0 ? string(immutableDays) : ''
  GUARD_DELETED_PERCENT: string(guardDeletedPercent)
  GUARD_DISABLED_PERCENT: string(guardDisabledPercent)
  DRILL_VAULT: empty(drillVault) ? '' : last(split(drillVault, '/'))
  DRILL_SAMPLE: drillSample
  STATUS_MAX_AGE_HOURS: string(maxAgeHours)
  BACKUP_IDENTITY_CLIENT_ID: identities.outputs.backup.clientId
  RESTORE_IDENTITY_CLIENT_ID: identities.outputs.restore.clientId
  PRUNE_IDENTITY_CLIENT_ID: identities.outputs.prune.clientId
  AZURE_CLOUD: clouds[environment().name]
  LOG_LEVEL: logLevel
}

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: resourceGroupName
  location: location
  tags: tags
}

module identities 'modules/identities.bicep' = {
  scope: group
  name: 'keyvault-backup-identities'
  params: { location: location, tags: tags, token: token }
}

module roles 'modules/roles.bicep' = {
  name: 'keyvault-backup-roles-${token}'
  params: { token: token, subscriptions: union([subscription().id], vaultSubscriptions) }
}

module monitoring 'modules/monitoring.bicep' = {
  scope: group
  name: 'keyvault-backup-monitoring'
  params: {
    location: location
    tags: tags
    token: token
    retentionDays: logRetentionDays
    alertEmails: alertEmails
    publisherPrincipalId: identities.outputs.host.principalId
  }
}

module backupStorage 'modules/backup-storage.bicep' = {
  scope: group
  name: 'keyvault-backup-storage'
  params: {
    location: location
    tags: tags
    token: token
    redundancy: backupRedundancy
    softDeleteDays: softDeleteDays
    immutableDays: immutableDays
    immutabilityLocked: immutabilityLocked
    coolAfterDays: coolAfterDays
    coldAfterDays: coldAfterDays
    lockAccount: lockBackups
    publicNetwork: !privateNetwork
    workspaceId: monitoring.outputs.workspaceId
    backupPrincipalId: identities.outputs.backup.principalId
    restorePrincipalId: identities.outputs.restore.principalId
    prunePrincipalId: identities.outputs.prune.principalId
    addBlobsRole: roles.outputs.addBlobs
    pruneBlobsRole: roles.outputs.pruneBlobs
    restoreAdds: allowReplace
  }
}

module hostStorage 'modules/host-storage.bicep' = {
  scope: group
  name: 'keyvault-backup-host-storage'
  params: {
    location: location
    tags: tags
    token: token
    publicNetwork: !privateNetwork
    queues: [backupQueue, restoreQueue]
    workspaceId: monitoring.outputs.workspaceId
    hostPrincipalId: identities.outputs.host.principalId
  }
}

module network 'modules/network.bicep' = if (privateNetwork) {
  scope: group
  name: 'keyvault-backup-network'
  params: {
    location: location
    tags: tags
    token: token
    prefix: networkPrefix
    appSubnetPrefix: appSubnetPrefix
    endpointSubnetPrefix: endpointSubnetPrefix
    backupStorageId: backupStorage.outputs.id
    hostStorageId: hostStorage.outputs.id
    vaults: allVaults
  }
}

module app 'modules/app.bicep' = {
  scope: group
  name: 'keyvault-backup-app'
  params: {
    location: location
    tags: tags
    token: token
    settings: settings
    hostIdentityId: identities.outputs.host.id
    backupIdentityId: identities.outputs.backup.id
    restoreIdentityId: identities.outputs.restore.id
    pruneIdentityId: identities.outputs.prune.id
    hostIdentityClientId: identities.outputs.host.clientId
    hostStorageName: hostStorage.outputs.name
    packageContainer: hostStorage.outputs.packageContainer
    connectionString: monitoring.outputs.connectionString
    publicNetwork: !privateNetwork
    subnetId: privateNetwork ? network.outputs.appSubnetId : ''
    maximumInstanceCount: maximumInstanceCount
    instanceMemoryMB: instanceMemoryMB
  }
}

module appEndpoint 'modules/private-endpoint.bicep' = if (privateNetwork) {
  scope: group
  name: 'keyvault-backup-app-endpoint'
  params: {
    location: location
    tags: tags
    name: 'pe-${token}-app'
    subnetId: privateNetwork ? network.outputs.endpointSubnetId : ''
    targetId: app.outputs.id
    part: 'sites'
    zoneId: privateNetwork ? network.outputs.sitesZoneId : ''
  }
}

module backupAccess 'modules/vault-access.bicep' = [for (vault, index) in vaults: {
  scope: resourceGroup(split(vault, '/')[2], split(vault, '/')[4])
  name: 'keyvault-backup-${token}-backup-${index}'
  params: {
    vaultName: last(split(vault, '/'))
    roles: [roles.outputs.backUpVaults]
    principalId: identities.outputs.backup.principalId
  }
}]

module restoreAccess 'modules/vault-access.bicep' = [for (vault, index) in restoreVaults: {
  scope: resourceGroup(split(vault, '/')[2], split(vault, '/')[4])
  name: 'keyvault-backup-${token}-restore-${index}'
  params: {
    vaultName: last(split(vault, '/'))
    roles: allowReplace ? [roles.outputs.restoreVaults, roles.outputs.replaceItems] : [roles.outputs.restoreVaults]
    principalId: identities.outputs.restore.principalId
  }
}]

module drillAccess 'modules/vault-access.bicep' = [for (vault, index) in drillVaults: {
  scope: resourceGroup(split(vault, '/')[2], split(vault, '/')[4])
  name: 'keyvault-backup-${token}-drill-${index}'
  params: {
    vaultName: last(split(vault, '/'))
    roles: [roles.outputs.drillVaults]
    principalId: identities.outputs.restore.principalId
  }
}]

module vaultAudit 'modules/vault-audit.bicep' = [for (vault, index) in (auditVaults ? allVaults : []): {
  scope: resourceGroup(split(vault, '/')[2], split(vault, '/')[4])
  name: 'keyvault-backup-${token}-audit-${index}'
  params: {
    vaultName: last(split(vault, '/'))
    settingName: 'keyvault-backup-${token}'
    workspaceId: monitoring.outputs.workspaceId
  }
}]

module alerts 'modules/alerts.bicep' = {
  scope: group
  name: 'keyvault-backup-alerts'
  params: {
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    actionGroupId: monitoring.outputs.actionGroupId
    vaultNames: vaultNames
    maxAgeHours: maxAgeHours
    ownCallers: [
      identities.outputs.backup.principalId
      identities.outputs.restore.principalId
      identities.outputs.prune.principalId
    ]
    knownCallers: knownCallers
    backupContainer: backupStorage.outputs.backupContainer
  }
}

module workbook 'modules/workbook.bicep' = {
  scope: group
  name: 'keyvault-backup-workbook'
  params: {
    location: location
    tags: tags
    token: token
    workspaceId: monitoring.outputs.workspaceId
    vaultNames: vaultNames
  }
}

@description('azd finds the app in it.')
output AZURE_RESOURCE_GROUP string = group.name
output functionAppName string = app.outputs.name
output backupStoreUrl string = backupStorage.outputs.backupsUrl
output stateStoreUrl string = backupStorage.outputs.stateUrl
